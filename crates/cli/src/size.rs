//! Memory sizes for people. (Reading them is the machine's: `ireko_machine::parse_memory`.)

/// Bytes for people: `512 MiB`.
pub fn show(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{:.1} GiB", b as f64 / (1u64 << 30) as f64),
        b if b >= 1 << 20 => format!("{} MiB", b >> 20),
        b => format!("{b} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        let shown: Vec<String> = [100, 512 << 20, 3 << 29].into_iter().map(show).collect();
        assert_eq!(shown, ["100 bytes", "512 MiB", "1.5 GiB"]);
    }
}
