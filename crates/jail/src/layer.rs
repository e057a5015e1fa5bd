//! What is in force, for people: a name, and how far, or why not.

use serde::{Deserialize, Serialize};

/// One wall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    pub name: String,
    pub in_force: bool,
    /// What it comes to here; or why it is missing.
    pub what: String,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let absent = if self.in_force { "" } else { "missing " };
        write!(f, "{absent}{}: {}", self.name, self.what)
    }
}

/// All walls, from the outside in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layers(pub Vec<Layer>);

impl Layers {
    pub fn stands(&mut self, name: &str, what: impl Into<String>) {
        self.0.push(Layer { name: name.into(), in_force: true, what: what.into() });
    }

    pub fn missing(&mut self, name: &str, why: impl Into<String>) {
        self.0.push(Layer { name: name.into(), in_force: false, what: why.into() });
    }

    /// In force, and what it comes to; or the error why not.
    pub fn tried<E: std::fmt::Display>(&mut self, name: &str, result: Result<String, E>) {
        match result {
            Ok(what) => self.stands(name, what),
            Err(why) => self.missing(name, why.to_string()),
        }
    }
}
