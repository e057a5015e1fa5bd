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
        self.put(Layer { name: name.into(), in_force: true, what: what.into() });
    }

    pub fn missing(&mut self, name: &str, why: impl Into<String>) {
        self.put(Layer { name: name.into(), in_force: false, what: why.into() });
    }

    /// What is tried a second time is told once, in its first place.
    fn put(&mut self, layer: Layer) {
        match self.0.iter_mut().find(|known| known.name == layer.name) {
            Some(known) => *known = layer,
            None => self.0.push(layer),
        }
    }

    /// In force, and what it comes to; or the error why not.
    pub fn tried<E: std::fmt::Display>(&mut self, name: &str, result: Result<String, E>) {
        match result {
            Ok(what) => self.stands(name, what),
            Err(why) => self.missing(name, why.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_told_once_as_it_was_tried_last() {
        let mut layers = Layers::default();
        layers.missing("one", "no right to it");
        layers.stands("other", "whole");
        layers.stands("one", "by somebody else");
        let told: Vec<String> = layers.0.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["one: by somebody else", "other: whole"]);
    }
}
