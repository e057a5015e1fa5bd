//! Sequence numbers go around (RFC 9293, 3.4).

/// How far `to` is behind `from`; negative if it is before it.
pub fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

/// Whether `a` comes before `b`.
pub fn before(a: u32, b: u32) -> bool {
    distance(a, b) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_where_numbers_go_around() {
        assert!(before(u32::MAX, 0) && before(0, 1) && !before(1, 1) && !before(5, u32::MAX));
        assert_eq!(distance(u32::MAX, 4), 5);
    }
}
