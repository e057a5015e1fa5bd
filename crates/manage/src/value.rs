//! What operations take and give: typed values, and records of them in a fixed order of properties.

use crate::guid::Guid;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// One property's value, or one argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// All integers; amounts of memory are bytes.
    Int(i64),
    Float(f64),
    Text(String),
    Guid(Guid),
    Duration(Duration),
    /// Seconds since 1970, UTC.
    Time(u64),
    List(Vec<Value>),
    Record(Box<Record>),
}

/// What a record is; the pipeline binds by it and the default view hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    VirtualMachine,
    VMProcessor,
    VMMemory,
    VMHost,
    VMHostNumaNode,
    VMHostSupportedVersion,
    VMGroup,
    VMSystem,
    HardDiskDrive,
    DvdDrive,
    VHD,
    VHDReport,
    VMBootSource,
    VMFirmware,
    VMScreen,
    VMComPort,
    VMConsoleLog,
    VMIntegrationService,
    VMKeyValuePair,
    VMCommandResult,
    VMNetworkAdapter,
    VMNetworkAdapterVlan,
    VMSwitch,
    VMSwitchPort,
    NetAdapter,
    NetIPAddress,
    NetNat,
    NetNatStaticMapping,
    VMMeteringReport,
    NestedVmStatus,
    NestedWorld,
    /// Made by a surface (`Select-Object` and the like).
    Custom,
}

/// An object as Hyper-V shows it: named properties in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub kind: Kind,
    pub properties: Vec<(Cow<'static, str>, Value)>,
}

impl Record {
    pub fn new(kind: Kind) -> Self {
        Self { kind, properties: Vec::new() }
    }

    /// Adds a property at the end.
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// A property by name, in any case.
    pub fn property(&self, name: &str) -> Option<&Value> {
        self.properties.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn guid(&self, name: &str) -> Option<Guid> {
        match self.property(name) {
            Some(Value::Guid(guid)) => Some(*guid),
            _ => None,
        }
    }
}

impl Value {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
    pub fn list<T: Into<Value>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(value) = self { Some(*value) } else { None }
    }
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(value) = self { Some(value) } else { None }
    }
    /// The elements of a list; anything else is a list of one, Null of none.
    pub fn items(&self) -> &[Value] {
        match self {
            Self::Null => &[],
            Self::List(items) => items,
            other => std::slice::from_ref(other),
        }
    }
}

macro_rules! from {
    ($($type:ty => |$v:ident| $make:expr;)*) => {
        $(impl From<$type> for Value { fn from($v: $type) -> Self { $make } })*
    };
}

from! {
    bool => |v| Self::Bool(v);
    i64 => |v| Self::Int(v);
    i32 => |v| Self::Int(v.into());
    u32 => |v| Self::Int(v.into());
    u64 => |v| Self::Int(i64::try_from(v).unwrap_or(i64::MAX));
    &str => |v| Self::Text(v.to_owned());
    String => |v| Self::Text(v);
    Guid => |v| Self::Guid(v);
    Duration => |v| Self::Duration(v);
    Record => |v| Self::Record(Box::new(v));
    Vec<Value> => |v| Self::List(v);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// As PowerShell prints a value in a list or a table.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
            Self::Guid(guid) => write!(f, "{guid}"),
            Self::Duration(duration) => write_duration(f, *duration),
            Self::Time(seconds) => write_time(f, *seconds),
            Self::List(items) => write_list(f, items),
            Self::Record(record) => write!(f, "{}", record.short()),
        }
    }
}

impl Record {
    /// Inside another object a record is its name.
    fn short(&self) -> String {
        self.property("Name").map_or_else(|| format!("{:?}", self.kind), ToString::to_string)
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, items: &[Value]) -> fmt::Result {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    write!(f, "{{{}}}", texts.join(", "))
}

/// A .NET TimeSpan: `d.hh:mm:ss.fffffff`, days and fraction only where there are any.
fn write_duration(f: &mut fmt::Formatter<'_>, duration: Duration) -> fmt::Result {
    let (seconds, ticks) = (duration.as_secs(), duration.subsec_nanos() / 100);
    if seconds >= 86400 {
        write!(f, "{}.", seconds / 86400)?;
    }
    write!(f, "{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)?;
    if ticks > 0 { write!(f, ".{ticks:07}") } else { Ok(()) }
}

/// ISO 8601 in UTC. The date from days is the proleptic Gregorian calendar by eras of 400 years.
fn write_time(f: &mut fmt::Formatter<'_>, seconds: u64) -> fmt::Result {
    let days = seconds / 86400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Int(value) => to.serialize_i64(*value),
            Self::Float(value) => to.serialize_f64(*value),
            Self::Text(text) => to.serialize_str(text),
            Self::List(items) => {
                let mut list = to.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Record(record) => record.serialize(to),
            Self::Guid(_) | Self::Duration(_) | Self::Time(_) => to.collect_str(self),
        }
    }
}

/// Properties in their own order.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.properties.len()))?;
        self.properties.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_powershell() {
        let shown = |value: Value| value.to_string();
        assert_eq!(shown(true.into()), "True");
        assert_eq!(shown(Value::list(["Ok", "x"])), "{Ok, x}");
        assert_eq!(shown(Duration::from_millis(59_147_564).into()), "16:25:47.5640000");
        assert_eq!(shown(Duration::from_secs(90_000).into()), "1.01:00:00");
        assert_eq!(shown(Value::Time(951_827_696)), "2000-02-29T12:34:56Z");
    }

    #[test]
    fn json_keeps_the_order_of_properties() {
        let record = Record::new(Kind::Custom).with("Z", 1).with("A", Value::Null);
        assert_eq!(serde_json::to_string(&record).unwrap(), r#"{"Z":1,"A":null}"#);
    }

    #[test]
    fn properties_are_found_in_any_case() {
        assert_eq!(Record::new(Kind::Custom).with("Name", "x").property("nAME"), Some(&"x".into()));
    }
}
