//! Records: the content of messages.

use indexmap::IndexMap;

use super::{ContentError, array::Array};
use crate::proto;

pub use crate::proto::{config_record_value::Value as ConfigValue, metric_record_value::Value as MetricValue};

/// A dictionary in insertion order, with values of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedDict<V>(IndexMap<String, V>);

/// Named arrays, for instance the parameters of a model.
pub type ArrayRecord = TypedDict<Array>;
/// Named numbers and lists of numbers.
pub type MetricRecord = TypedDict<MetricValue>;
/// Named settings: numbers, booleans, strings, bytes, and lists of them.
pub type ConfigRecord = TypedDict<ConfigValue>;
/// Named records: the content of a message.
pub type RecordDict = TypedDict<Record>;

/// One record of a [`RecordDict`].
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Named arrays.
    Array(ArrayRecord),
    /// Named metrics.
    Metric(MetricRecord),
    /// Named settings.
    Config(ConfigRecord),
}

impl<V> TypedDict<V> {
    /// Creates an empty dictionary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value at the end, or replaces the one with the same name in its place.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<V>) {
        self.0.insert(name.into(), value.into());
    }

    /// Adds a value as [`insert`](Self::insert) does, for use in one expression.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<V>) -> Self {
        self.insert(name, value);
        self
    }

    /// Returns the value with this name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.0.get(name)
    }

    /// Iterates over names and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &V)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Iterates over the values, in order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.0.values()
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V> Default for TypedDict<V> {
    fn default() -> Self {
        Self(IndexMap::new())
    }
}

impl<V> FromIterator<(String, V)> for TypedDict<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl ArrayRecord {
    /// Names arrays `"0"`, `"1"` and so on, as Flower does with a list of NumPy arrays.
    pub fn from_arrays(arrays: impl IntoIterator<Item = Array>) -> Self {
        arrays.into_iter().enumerate().map(|(index, array)| (index.to_string(), array)).collect()
    }

    /// Returns the array with this name.
    ///
    /// # Errors
    /// If there is no array with this name.
    pub fn array(&self, name: &str) -> Result<&Array, ContentError> {
        self.get(name).ok_or_else(|| missing(self, "array", name))
    }
}

impl RecordDict {
    /// Returns the arrays with this name.
    ///
    /// # Errors
    /// If there is no such record, or one of another type.
    pub fn arrays(&self, name: &str) -> Result<&ArrayRecord, ContentError> {
        match self.record(name)? {
            Record::Array(record) => Ok(record),
            other => Err(other.wrong_type(name, "ArrayRecord")),
        }
    }

    /// Returns the metrics with this name.
    ///
    /// # Errors
    /// If there is no such record, or one of another type.
    pub fn metrics(&self, name: &str) -> Result<&MetricRecord, ContentError> {
        match self.record(name)? {
            Record::Metric(record) => Ok(record),
            other => Err(other.wrong_type(name, "MetricRecord")),
        }
    }

    /// Returns the settings with this name.
    ///
    /// # Errors
    /// If there is no such record, or one of another type.
    pub fn config(&self, name: &str) -> Result<&ConfigRecord, ContentError> {
        match self.record(name)? {
            Record::Config(record) => Ok(record),
            other => Err(other.wrong_type(name, "ConfigRecord")),
        }
    }

    fn record(&self, name: &str) -> Result<&Record, ContentError> {
        self.get(name).ok_or_else(|| missing(self, "record", name))
    }
}

impl Record {
    /// Returns Flower's name for its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Array(_) => "ArrayRecord",
            Self::Metric(_) => "MetricRecord",
            Self::Config(_) => "ConfigRecord",
        }
    }

    fn wrong_type(&self, name: &str, wanted: &str) -> ContentError {
        ContentError::new(
            format_args!("record {name:?}"),
            format_args!("its type is {} and not {wanted}", self.type_name()),
        )
    }
}

/// Makes the error for a missing name. It lists a few of those that exist.
fn missing<V>(dict: &TypedDict<V>, what: &str, name: &str) -> ContentError {
    let names: Vec<_> = dict.0.keys().take(8).collect();
    ContentError::new(format_args!("{what} {name:?}"), format_args!("there is no such name, only {names:?}"))
}

impl From<ArrayRecord> for Record {
    fn from(record: ArrayRecord) -> Self {
        Self::Array(record)
    }
}

impl From<MetricRecord> for Record {
    fn from(record: MetricRecord) -> Self {
        Self::Metric(record)
    }
}

impl From<ConfigRecord> for Record {
    fn from(record: ConfigRecord) -> Self {
        Self::Config(record)
    }
}

/// Converts Rust's numbers to metrics and settings.
macro_rules! from_numbers {
    ($($target:ty),+) => {$(
        from_values!($target: f64 => Double, f32 => Double, i64 => Sint64, i32 => Sint64, u32 => Sint64);
        from_lists!($target: f64 => DoubleList, i64 => SintList, u64 => UintList);

        impl From<u64> for $target {
            /// Unsigned only if it does not fit a signed integer, as Flower does.
            fn from(value: u64) -> Self {
                i64::try_from(value).map_or(Self::Uint64(value), Self::Sint64)
            }
        }

        impl From<usize> for $target {
            fn from(value: usize) -> Self {
                Self::from(value as u64)
            }
        }
    )+};
}

macro_rules! from_values {
    ($target:ty: $($from:ty => $variant:ident),+) => {
        $(impl From<$from> for $target {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })+
    };
}

macro_rules! from_lists {
    ($target:ty: $($from:ty => $list:ident),+) => {
        $(impl From<Vec<$from>> for $target {
            fn from(vals: Vec<$from>) -> Self {
                Self::$list(proto::$list { vals })
            }
        })+
    };
}

from_numbers!(MetricValue, ConfigValue);
from_values!(ConfigValue: bool => Bool, &str => String, String => String, bytes::Bytes => Bytes);
from_lists!(ConfigValue: bool => BoolList, String => StringList, bytes::Bytes => BytesList);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_unsigned_only_if_it_must_be() {
        assert_eq!(MetricValue::from(7_usize), MetricValue::Sint64(7));
        assert_eq!(ConfigValue::from(u64::MAX), ConfigValue::Uint64(u64::MAX));
    }

    #[test]
    fn a_missing_record_and_one_of_another_type_are_named() {
        let content = RecordDict::new().with("metrics", MetricRecord::new().with("loss", 0.5));
        let missing = content.arrays("arrays").unwrap_err().to_string();
        assert!(missing.contains("\"arrays\"") && missing.contains("[\"metrics\"]"), "{missing}");
        let other = content.arrays("metrics").unwrap_err().to_string();
        assert!(other.contains("MetricRecord and not ArrayRecord"), "{other}");
        assert_eq!(content.metrics("metrics").unwrap().get("loss"), Some(&MetricValue::Double(0.5)));
    }

    #[test]
    fn names_keep_their_order() {
        let record = MetricRecord::new().with("b", 1.0).with("a", 2.0).with("b", 3.0);
        let items: Vec<_> = record.iter().map(|(name, value)| (name, value.clone())).collect();
        assert_eq!(items, [("b", MetricValue::Double(3.0)), ("a", MetricValue::Double(2.0))]);
    }
}
