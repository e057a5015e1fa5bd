//! What a process uses, as the kernel counts it.

/// Ticks a second in /proc: a constant of the kernel's interface to user space (USER_HZ).
const TICKS: f64 = 100.0;

/// Processor time and resident memory of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
}

/// From the texts of /proc/PID/stat and /proc/PID/status.
pub fn used(stat: &str, status: &str) -> Usage {
    Usage {
        cpu_seconds: cpu_seconds(stat).unwrap_or(0.0),
        resident_bytes: resident_bytes(status).unwrap_or(0),
    }
}

/// Fields 14 and 15 (proc(5)); the name in field 2 may hold blanks and brackets, so they are counted after it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let after = stat.rsplit_once(')')?.1;
    let mut fields = after.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_does_not_shift_the_fields() {
        let stat = "1 (a) b (c) S 0 1 1 0 -1 4 0 0 0 0 150 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        assert_eq!(used("", ""), Usage::default());
    }
}
