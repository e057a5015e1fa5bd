//! Passwords as crypt(3) keeps them, by SHA-512 ("Unix crypt using SHA-256 and SHA-512", U. Drepper).

use ring::digest::{Context, SHA512};

const ROUNDS: usize = 5000;
const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SALT: usize = 16;

/// `random`: what the salt is made of.
pub fn hashed(password: &str, random: [u8; SALT]) -> String {
    let salt: Vec<u8> = random.iter().map(|byte| LETTERS[usize::from(byte & 63)]).collect();
    let text = encoded(&digest(password.as_bytes(), &salt));
    format!("$6${}${text}", String::from_utf8_lossy(&salt))
}

fn sum(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(&SHA512);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().to_vec()
}

/// As many bytes as `length` of `block` again and again.
fn repeated(block: &[u8], length: usize) -> Vec<u8> {
    block.iter().copied().cycle().take(length).collect()
}

fn digest(password: &[u8], salt: &[u8]) -> Vec<u8> {
    let length = password.len();
    let other = sum(&[password, salt, password]);
    let mut first = Context::new(&SHA512);
    [password, salt, &repeated(&other, length)].iter().for_each(|part| first.update(part));
    let mut bits = length;
    while bits > 0 {
        first.update(if bits & 1 == 1 { &other } else { password });
        bits >>= 1;
    }
    let mut last = first.finish().as_ref().to_vec();
    let of_password = repeated(&sum(&vec![password; length]), length);
    let times = 16 + usize::from(last[0]);
    let of_salt = repeated(&sum(&vec![salt; times]), salt.len());
    for round in 0..ROUNDS {
        let odd = round % 2 == 1;
        let mut parts: Vec<&[u8]> = vec![if odd { &of_password } else { &last }];
        if round % 3 > 0 {
            parts.push(&of_salt);
        }
        if round % 7 > 0 {
            parts.push(&of_password);
        }
        parts.push(if odd { &last } else { &of_password });
        last = sum(&parts);
    }
    last
}

/// Three bytes are four letters, in the order that the paper has.
fn encoded(digest: &[u8]) -> String {
    let mut text = String::new();
    let mut put = |value: u32, count: usize| {
        (0..count).for_each(|n| text.push(char::from(LETTERS[(value >> (6 * n) & 63) as usize])));
    };
    for group in 0..21 {
        // 0, 21, 42; 22, 43, 1; 44, 2, 23; …
        let at = [group, group + 21, group + 42];
        let [a, b, c] = [0, 1, 2].map(|n| u32::from(digest[at[(n + group) % 3]]));
        put(a << 16 | b << 8 | c, 4);
    }
    put(u32::from(digest[63]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hashed_as_the_paper_says() {
        let hash = encoded(&digest(b"Hello world!", b"saltstring"));
        let expected =
            "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
        assert_eq!(hash, expected);
    }

    #[test]
    fn what_is_hashed_says_how() {
        let hash = hashed("x", [65; SALT]);
        assert!(hash.starts_with("$6$////////////////$"), "{hash}");
    }
}
