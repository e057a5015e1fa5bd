//! State that can be saved: what a guest can tell of a part, as plain data with a name and a version, apart from what runs.
//!
//! A part has a type of its own for it (`saved.rs` beside the part) and makes and takes it by [`SaveRestore`], while the machine rests. How
//! it is written, and how a version grows, is in docs/decisions/0008-saved-state.md. What is loaded is hostile: it may come from anybody.

mod difference;
mod mutate;

pub use difference::difference;
pub use mutate::mutated;

use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Plain data that a part is saved as.
pub trait Saved: Serialize + DeserializeOwned {
    /// The part's name, which never changes.
    const NAME: &'static str;
    /// Counts up when what is saved changes.
    const VERSION: u32;

    /// Loads what an earlier version wrote. A type that has none knows its own version alone.
    fn earlier(version: u32, body: &[u8]) -> Result<Self, RestoreError> {
        let _ = body;
        Err(RestoreError::Earlier { name: Self::NAME, found: version, known: Self::VERSION })
    }
}

/// A part whose state can be saved and taken back. Both are for a machine that rests: no processor runs, no timer fires, no
/// device works.
pub trait SaveRestore {
    type Saved: Saved;
    fn save(&self) -> Self::Saved;
    /// An error leaves a part that can be reset and used, in no particular state.
    fn restore(&mut self, saved: Self::Saved) -> Result<(), RestoreError>;
}

/// The same for whoever has many parts and knows none of their types.
pub trait SavedState {
    fn record(&self) -> Record;
    fn restore_record(&mut self, record: &Record) -> Result<(), RestoreError>;
}

impl<T: SaveRestore> SavedState for T {
    fn record(&self) -> Record {
        Record::of(&self.save())
    }
    fn restore_record(&mut self, record: &Record) -> Result<(), RestoreError> {
        self.restore(record.get()?)
    }
}

/// What was saved of one part: a name, a version, and a body that only that version's type can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    name: String,
    version: u32,
    body: Blob,
}

impl Record {
    pub fn of<S: Saved>(saved: &S) -> Self {
        Self { name: S::NAME.into(), version: S::VERSION, body: Blob(encode(saved)) }
    }

    pub fn get<S: Saved>(&self) -> Result<S, RestoreError> {
        if self.name != S::NAME {
            return Err(RestoreError::Name { wanted: S::NAME, found: printable(&self.name) });
        }
        match self.version {
            version if version > S::VERSION => {
                Err(RestoreError::Newer { name: S::NAME, found: version, known: S::VERSION })
            }
            version if version < S::VERSION => S::earlier(version, &self.body.0),
            _ => decode(S::NAME, &self.body.0),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RestoreError> {
        decode("a record", bytes)
    }
}

/// The bytes of a saved value: CBOR (RFC 8949), the same for the same value.
fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("plain data can be written to memory");
    bytes
}

/// All of `bytes` as a value of part `name`.
pub fn decode<T: DeserializeOwned>(name: &'static str, bytes: &[u8]) -> Result<T, RestoreError> {
    let mut rest = bytes;
    let malformed = |why: String| RestoreError::Malformed { name, why };
    let value = ciborium::from_reader(&mut rest).map_err(|error| malformed(error.to_string()))?;
    if rest.is_empty() { Ok(value) } else { Err(malformed(format!("{} bytes too many", rest.len()))) }
}

/// Names from outside, for sentences.
fn printable(name: &str) -> String {
    name.chars().take(40).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Why a state was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    #[error(
        "the saved state of {name} is of version {found}, and this Ireko knows versions up to {known}: use the Ireko that saved it, or a later one"
    )]
    Newer { name: &'static str, found: u32, known: u32 },
    #[error(
        "the saved state of {name} is of version {found}, and this Ireko knows version {known} alone: use an earlier Ireko"
    )]
    Earlier { name: &'static str, found: u32, known: u32 },
    #[error(
        "a saved state of {found:?} was found where one of {wanted} belongs: the file is damaged or of another machine"
    )]
    Name { wanted: &'static str, found: String },
    #[error("the saved state of {name} cannot be read ({why}): the file is damaged")]
    Malformed { name: &'static str, why: String },
    #[error("the saved state of {name} cannot be: {what}")]
    Invalid { name: &'static str, what: String },
    #[error(
        "the saved state has a {0:?}, which this machine lacks: use the configuration that it was saved with"
    )]
    Unknown(String),
    #[error("the saved state lacks the machine's {0:?}: use the configuration that it was saved with")]
    Missing(String),
}

impl RestoreError {
    /// A value that the part could never have.
    pub fn invalid<S: Saved>(what: impl std::fmt::Display) -> Self {
        Self::Invalid { name: S::NAME, what: what.to_string() }
    }
}

/// Refuses a state in which something does not hold that always does.
pub fn ensure<S: Saved>(holds: bool, what: impl std::fmt::Display) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::invalid::<S>(what)) }
}

/// Bytes, written as such and not as a list of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// A fixed number of bytes, written as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes<const N: usize>(pub [u8; N]);

impl<const N: usize> Serialize for Bytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Blob(bytes) = Blob::deserialize(deserializer)?;
        let count = bytes.len();
        let array = bytes.try_into().map_err(|_| D::Error::custom(format!("{count} bytes and not {N}")))?;
        Ok(Self(array))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Old {
        count: u8,
    }
    impl Saved for Old {
        const NAME: &'static str = "part";
        const VERSION: u32 = 1;
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct New {
        count: u8,
        words: Vec<u64>,
        bytes: Bytes<3>,
    }
    impl Saved for New {
        const NAME: &'static str = "part";
        const VERSION: u32 = 2;
        fn earlier(_: u32, body: &[u8]) -> Result<Self, RestoreError> {
            let Old { count } = decode(Self::NAME, body)?;
            Ok(Self { count, words: Vec::new(), bytes: Bytes([0; 3]) })
        }
    }

    fn new() -> New {
        New { count: 7, words: vec![1, u64::MAX], bytes: Bytes([1, 2, 3]) }
    }

    #[test]
    fn what_was_saved_is_loaded_and_saved_again_with_the_same_bytes() {
        let bytes = Record::of(&new()).to_bytes();
        let loaded: New = Record::from_bytes(&bytes).unwrap().get().unwrap();
        assert_eq!(loaded, new());
        assert_eq!(Record::of(&loaded).to_bytes(), bytes);
    }

    #[test]
    fn an_earlier_version_is_loaded_and_a_newer_one_refused_with_both_numbers() {
        let loaded: New = Record::of(&Old { count: 9 }).get().unwrap();
        assert_eq!(loaded.count, 9);
        let text = Record::of(&new()).get::<Old>().unwrap_err().to_string();
        assert!(text.contains("part is of version 2") && text.contains("up to 1"), "{text}");
    }

    #[test]
    fn another_parts_state_is_refused() {
        let record = Record { name: "other\n".into(), ..Record::of(&new()) };
        assert_eq!(record.get::<New>(), Err(RestoreError::Name { wanted: "part", found: "other?".into() }));
    }

    #[test]
    fn bytes_behind_the_end_are_refused() {
        let mut bytes = Record::of(&new()).to_bytes();
        bytes.push(0);
        assert!(matches!(Record::from_bytes(&bytes), Err(RestoreError::Malformed { .. })));
    }

    #[test]
    fn a_length_that_no_bytes_stand_for_costs_nothing() {
        // Byte strings and lists of 2^60 elements (RFC 8949, 3.1).
        for head in [0x5b, 0x9b, 0xbb, 0x7b] {
            let bytes = [&[head][..], &(1u64 << 60).to_be_bytes(), &[0; 4]].concat();
            let blob: Result<Blob, _> = decode("part", &bytes);
            let list: Result<Vec<u64>, _> = decode("part", &bytes);
            assert!(blob.is_err() && list.is_err() && Record::from_bytes(&bytes).is_err());
        }
    }

    #[test]
    fn fuzz_records() {
        bolero::check!().with_test_time(std::time::Duration::from_secs(1)).for_each(|input: &[u8]| {
            if let Ok(record) = Record::from_bytes(input) {
                let _ = record.get::<New>();
            }
            let _: Result<New, _> = decode("part", input);
        });
    }
}
