//! Names of VMs.

const LONGEST: usize = 100;

/// A name is shown and compared, never a path; it must be visible on one line.
pub fn check(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("The name of a virtual machine must not be blank; give it one with -Name.".into());
    }
    if let Some(c) = name.chars().find(|c| c.is_control()) {
        return Err(format!("The name {name:?} has the control character {c:?}; leave it out."));
    }
    let length = name.chars().count();
    if length > LONGEST {
        return Err(format!("The name has {length} characters; {LONGEST} are the most, so shorten it."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_visible_line() {
        assert!(check("../x y").is_ok());
        for name in ["", " ", "a\nb", "a\x1b[2J", &"x".repeat(101)] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
