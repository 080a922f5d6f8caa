//! What a set of descriptors declares, laid out for a comparison.

use std::collections::{BTreeMap, BTreeSet};

use protox::prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    ServiceDescriptor,
};

/// Every message, enum and service of a set of descriptors, by its full name.
pub(crate) struct Protocol {
    pool: DescriptorPool,
    pub(crate) declarations: BTreeMap<String, Declaration>,
}

/// A message, an enum or a service.
pub(crate) struct Declaration {
    /// The keyword that declares it.
    pub(crate) keyword: &'static str,
    pub(crate) parts: BTreeMap<Key, Part>,
}

/// What tells a part on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// The number of a field or of an enum's value.
    Number(i64),
    /// The name of a method.
    Method(String),
}

/// A field, an enum's value or a method.
#[derive(PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// What must agree for one side to read what the other has written: a type, or a method's messages.
    pub(crate) shape: String,
    /// Whether an absent value is told from a default one, which the wire does not show.
    pub(crate) optional: bool,
}

impl Protocol {
    pub(crate) fn new(pool: DescriptorPool) -> Self {
        // The entries of a map are part of the field that is the map.
        let messages = pool.all_messages().filter(|message| !message.is_map_entry());
        let messages = messages.map(|message| (message.full_name().to_owned(), Declaration::message(&message)));
        let enums = pool.all_enums().map(|found| (found.full_name().to_owned(), Declaration::enumeration(&found)));
        let services = pool.services().map(|service| (service.full_name().to_owned(), Declaration::service(&service)));
        let declarations = messages.chain(enums).chain(services).collect();
        Self { pool, declarations }
    }

    /// The names of all that a service's messages are made of, and its own.
    pub(crate) fn reachable_from(&self, service: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::from([service.to_owned()]);
        let service = self.pool.get_service_by_name(service).expect("the service is declared");
        let mut pending: Vec<_> =
            service.methods().flat_map(|method| [method.input(), method.output()]).map(Kind::Message).collect();
        while let Some(kind) = pending.pop() {
            let name = match &kind {
                Kind::Message(message) => message.full_name(),
                Kind::Enum(found) => found.full_name(),
                _ => continue,
            };
            if reached.insert(name.to_owned())
                && let Kind::Message(message) = &kind
            {
                pending.extend(message.fields().map(|field| field.kind()));
            }
        }
        reached
    }
}

impl Declaration {
    fn message(message: &MessageDescriptor) -> Self {
        let part = |field: FieldDescriptor| (Key::Number(field.number().into()), Part::field(&field));
        Self { keyword: "message", parts: message.fields().map(part).collect() }
    }

    fn enumeration(found: &EnumDescriptor) -> Self {
        let part = |name: &str| Part { name: name.to_owned(), shape: String::new(), optional: false };
        let values = found.values().map(|value| (Key::Number(value.number().into()), part(value.name())));
        Self { keyword: "enum", parts: values.collect() }
    }

    fn service(service: &ServiceDescriptor) -> Self {
        let part = |method: MethodDescriptor| (Key::Method(method.name().to_owned()), Part::method(&method));
        Self { keyword: "service", parts: service.methods().map(part).collect() }
    }
}

impl Part {
    fn field(field: &FieldDescriptor) -> Self {
        let optional = field.field_descriptor_proto().proto3_optional();
        let mut shape = match field.cardinality() {
            _ if field.is_map() => map(&field.kind()),
            Cardinality::Repeated => format!("repeated {}", name_of(&field.kind())),
            Cardinality::Optional | Cardinality::Required => name_of(&field.kind()),
        };
        if let Some(oneof) = field.containing_oneof().filter(|_| !optional) {
            shape.push_str(&format!(" in oneof {}", oneof.name()));
        }
        Self { name: field.name().to_owned(), shape, optional }
    }

    fn method(method: &MethodDescriptor) -> Self {
        let side = |streams: bool, message: &MessageDescriptor| {
            format!("{}{}", if streams { "stream " } else { "" }, message.full_name())
        };
        let input = side(method.is_client_streaming(), &method.input());
        let output = side(method.is_server_streaming(), &method.output());
        Self { name: method.name().to_owned(), shape: format!("({input}) returns ({output})"), optional: false }
    }
}

fn map(entry: &Kind) -> String {
    let entry = entry.as_message().expect("a map's kind is its entry");
    let (key, value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
    format!("map<{}, {}>", name_of(&key), name_of(&value))
}

fn name_of(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(found) => found.full_name().to_owned(),
        // Prints the keyword.
        scalar => format!("{scalar:?}"),
    }
}
