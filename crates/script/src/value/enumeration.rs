//! Enumerations: .NET's, a host's, and a script's.

use std::rc::Rc;

#[derive(Debug)]
pub struct EnumType {
    /// The whole .NET name.
    pub name: Rc<str>,
    pub members: Vec<(Rc<str>, i64)>,
    /// Members may be put together by their bits.
    pub flags: bool,
}

#[derive(Clone, Debug)]
pub struct EnumValue {
    pub kind: Rc<EnumType>,
    pub value: i64,
}

impl EnumType {
    pub fn new(name: &str, members: &[(&str, i64)]) -> Rc<Self> {
        let members = members.iter().map(|(name, value)| (Rc::from(*name), *value)).collect();
        Rc::new(Self { name: name.into(), members, flags: false })
    }

    /// The value of a member, of its number, or of several with commas between.
    pub fn parse(self: &Rc<Self>, text: &str) -> Option<EnumValue> {
        let one = |text: &str| {
            let text = text.trim();
            let named = self.members.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            named.map(|(_, value)| *value).or_else(|| text.parse().ok())
        };
        let mut value = 0;
        for part in text.split(',') {
            value |= one(part)?;
        }
        Some(EnumValue { kind: self.clone(), value })
    }
}

impl EnumValue {
    pub fn text(&self) -> String {
        if let Some((name, _)) = self.kind.members.iter().find(|(_, value)| *value == self.value) {
            return name.to_string();
        }
        let mut rest = self.value;
        let mut names = Vec::new();
        if self.kind.flags {
            for (name, bits) in self.kind.members.iter().filter(|(_, bits)| *bits != 0) {
                if rest & bits == *bits {
                    names.push(name.to_string());
                    rest &= !bits;
                }
            }
        }
        if rest == 0 && !names.is_empty() { names.join(", ") } else { self.value.to_string() }
    }
}
