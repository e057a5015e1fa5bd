//! The files that programs find: sources as they are, and others made by counting, so that they are the same everywhere.

use std::fmt::Write;

type Files = Vec<(String, Vec<u8>)>;

fn one(name: &str, content: impl Into<Vec<u8>>) -> Files {
    vec![(name.to_owned(), content.into())]
}

pub fn nothing() -> Files {
    Vec::new()
}

pub fn small_c() -> Files {
    one("small.c", include_str!("sources/small.c"))
}

pub fn node() -> Files {
    one("main.js", include_str!("sources/main.js"))
}

pub fn java() -> Files {
    one("Main.java", include_str!("sources/Main.java"))
}

pub fn go() -> Files {
    one("main.go", include_str!("sources/main.go"))
}

pub fn python() -> Files {
    one("pages.py", include_str!("sources/pages.py"))
}

pub fn sqlite() -> Files {
    one("rows.sql", include_str!("sources/rows.sql"))
}

/// Numbers that look as if by chance (xorshift64, Marsaglia, "Xorshift RNGs", 2003).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// 400 functions, each with a loop, branches, arrays and calls of others.
pub fn large_c() -> Files {
    const FUNCTIONS: u64 = 400;
    let (mut text, mut numbers) = (String::from("#include <stdlib.h>\n\n"), Numbers(5));
    text.push_str("struct node { struct node *next; long key; double weight; };\n\n");
    for function in 0..FUNCTIONS {
        let called = numbers.below(function.max(1));
        let (a, b, c) = (numbers.below(97) + 3, numbers.below(61) + 2, numbers.below(31) + 1);
        let call = if function == 0 {
            String::from("x")
        } else {
            format!("(x > {b} ? f{called}(head, x / {c}) : x)")
        };
        let _ = write!(
            text,
            "long f{function}(struct node *head, long x) {{\n    long sum = {b};\n    \
             for (struct node *n = head; n; n = n->next) {{\n        if (n->key % {b} == 0)\n            sum += n->weight * {c};\n        \
             else\n            n->key -= {c};\n    }}\n    \
             switch (x & 7) {{\n    case 0: sum ^= {a}; break;\n    case 3: sum *= 3; break;\n    default: sum -= x;\n    }}\n    \
             return sum + {call};\n}}\n\n"
        );
    }
    one("large.c", text)
}

const WORDS: [&str; 24] = [
    "memory",
    "page",
    "of",
    "the",
    "a",
    "guest",
    "host",
    "and",
    "register",
    "is",
    "in",
    "level",
    "machine",
    "to",
    "code",
    "block",
    "that",
    "table",
    "cache",
    "by",
    "process",
    "clock",
    "an",
    "interrupt",
];

/// Lines of words, no two alike for long.
fn lines(bytes: usize, numbers: &mut Numbers) -> String {
    let mut text = String::with_capacity(bytes + 128);
    while text.len() < bytes {
        for _ in 0..numbers.below(9) + 4 {
            text.push_str(WORDS[numbers.below(WORDS.len() as u64) as usize]);
            text.push(' ');
        }
        let _ = writeln!(text, "{:x}.", numbers.below(1 << 20));
    }
    text
}

pub fn text() -> Files {
    one("text", lines(2 << 20, &mut Numbers(7)))
}

pub fn noise() -> Files {
    let mut numbers = Numbers(11);
    one("noise", (0..3 << 20).flat_map(|_| numbers.next().to_le_bytes()).collect::<Vec<u8>>())
}

/// A tree of sources to be.
pub fn git() -> Files {
    let mut numbers = Numbers(13);
    let file = |number: u64| {
        let bytes = 500 + numbers.below(6000) as usize;
        (format!("tree/part{}/file{number}.txt", number / 20), lines(bytes, &mut numbers).into_bytes())
    };
    (0..400).map(file).collect()
}
