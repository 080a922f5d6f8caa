//! What differs between two protocols, and what it does to one who decodes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::protocol::{Declaration, Key, Part, Protocol};

/// One difference between our protos and an installed flwr's.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    pub(crate) effect: Effect,
    /// The full name of the message, enum or service.
    pub(crate) owner: String,
    key: Option<Key>,
    text: String,
}

/// What a difference does to one who decodes what the other side has written; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// The same key stands for another type, or the same name for another key: what is decoded is wrong or an error.
    Breaking,
    /// The same number and type under another name: it decodes, but the values may mean something else.
    Renamed,
    /// Only one side tells an absent value from a default one.
    Presence,
    /// Only one side has it: the other ignores or never sees it.
    Addition,
}

/// All differences, the worst first.
pub(crate) fn differences(ours: &Protocol, theirs: &Protocol) -> BTreeSet<Difference> {
    let (ours, theirs) = (&ours.declarations, &theirs.declarations);
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    names.into_iter().flat_map(|name| in_declaration(name, ours.get(name), theirs.get(name))).collect()
}

fn in_declaration(name: &str, ours: Option<&Declaration>, theirs: Option<&Declaration>) -> Vec<Difference> {
    let whole = |effect, text| vec![Difference { effect, owner: name.to_owned(), key: None, text }];
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.keyword != theirs.keyword => {
            whole(Effect::Breaking, format!("{name}: {} of ours, {} of theirs", ours.keyword, theirs.keyword))
        }
        (Some(ours), Some(theirs)) => in_parts(name, &ours.parts, &theirs.parts),
        (Some(ours), None) => whole(Effect::Addition, format!("{} {name}: only ours", ours.keyword)),
        (None, Some(theirs)) => whole(Effect::Addition, format!("{} {name}: only theirs", theirs.keyword)),
        (None, None) => Vec::new(),
    }
}

fn in_parts(owner: &str, ours: &BTreeMap<Key, Part>, theirs: &BTreeMap<Key, Part>) -> Vec<Difference> {
    let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let found = keys.into_iter().filter_map(|key| {
        let (effect, text) = match (ours.get(key), theirs.get(key)) {
            (Some(ours), Some(theirs)) => between(key, ours, theirs)?,
            (Some(part), None) => alone(key, part, "ours", theirs),
            (None, Some(part)) => alone(key, part, "theirs", ours),
            (None, None) => return None,
        };
        let separator = if matches!(key, Key::Method(_)) { '/' } else { '.' };
        let text = format!("{owner}{separator}{text}");
        Some(Difference { effect, owner: owner.to_owned(), key: Some(key.clone()), text })
    });
    found.collect()
}

/// The difference between two parts with the same key.
fn between(key: &Key, ours: &Part, theirs: &Part) -> Option<(Effect, String)> {
    let effect = match () {
        () if ours.shape != theirs.shape => Effect::Breaking,
        () if ours.name != theirs.name => Effect::Renamed,
        () if ours.optional != theirs.optional => Effect::Presence,
        () => return None,
    };
    Some((effect, format!("{}; theirs: {}", ours.declared(key), theirs.declared(key))))
}

/// The difference that a part makes whose key the other side has not.
fn alone(key: &Key, part: &Part, whose: &str, others: &BTreeMap<Key, Part>) -> (Effect, String) {
    let declared = part.declared(key);
    match others.iter().find(|(_, other)| other.name == part.name) {
        Some((moved, other)) => {
            (Effect::Breaking, format!("{declared}: {whose}; elsewhere: {}", other.declared(moved)))
        }
        None => (Effect::Addition, format!("{declared}: only {whose}")),
    }
}

impl Part {
    /// As a proto declares it, with a field's number before its type.
    fn declared(&self, key: &Key) -> String {
        let Self { name, shape, optional } = self;
        let optional = if *optional { "optional " } else { "" };
        match key {
            Key::Method(_) => format!("{name}{shape}"),
            Key::Number(number) if shape.is_empty() => format!("{name} = {number}"),
            Key::Number(number) => format!("{name} = {number} {optional}{shape}"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::Breaking => "BREAKING ",
            Effect::Renamed => "RENAMED ",
            Effect::Presence => "PRESENCE ",
            Effect::Addition => "",
        };
        write!(f, "{effect}{}", self.text)
    }
}
