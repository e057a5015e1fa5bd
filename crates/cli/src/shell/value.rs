//! Records of operations as objects of the language, and back.

use ireko_manage::{Guid, Kind, Parameter, Record, Type, Value as Managed};
use ireko_script::Value;
use ireko_script::types::{DateTime, TimeSpan, text};
use ireko_script::value::{EnumType, EnumValue, Number, Object};
use std::rc::Rc;
use std::time::Duration;

/// Enumerations of the Hyper-V module, with the numbers that scripts know.
const ENUMS: [(&str, &[(&str, i64)]); 5] = [
    (
        "Microsoft.HyperV.PowerShell.VMState",
        &[
            ("Other", 1),
            ("Running", 2),
            ("Off", 3),
            ("Stopping", 4),
            ("Saved", 6),
            ("Paused", 9),
            ("Starting", 10),
            ("Reset", 11),
            ("Saving", 32773),
            ("Pausing", 32776),
            ("Resuming", 32777),
            ("FastSaved", 32779),
            ("FastSaving", 32780),
            ("RunningCritical", 32782),
            ("OffCritical", 32783),
            ("StoppingCritical", 32784),
            ("SavedCritical", 32785),
            ("PausedCritical", 32786),
        ],
    ),
    ("Microsoft.HyperV.PowerShell.OnOffState", &[("On", 0), ("Off", 1)]),
    ("Microsoft.HyperV.PowerShell.StartAction", &[("Nothing", 2), ("StartIfRunning", 3), ("Start", 4)]),
    ("Microsoft.HyperV.PowerShell.StopAction", &[("TurnOff", 2), ("Save", 3), ("ShutDown", 4)]),
    ("Microsoft.HyperV.PowerShell.VMSwitchType", &[("Private", 0), ("Internal", 1), ("External", 2)]),
];

/// Which properties are of such a type.
const OF_ENUM: [(Kind, &str, usize); 6] = [
    (Kind::VirtualMachine, "State", 0),
    (Kind::VirtualMachine, "AutomaticStartAction", 2),
    (Kind::VirtualMachine, "AutomaticStopAction", 3),
    (Kind::VMNetworkAdapter, "MacAddressSpoofing", 1),
    (Kind::VMFirmware, "SecureBoot", 1),
    (Kind::VMSwitch, "SwitchType", 4),
];

thread_local! {
    static MADE: Vec<Rc<EnumType>> = ENUMS.iter().map(|(name, members)| EnumType::new(name, members)).collect();
}

/// An enumeration by its whole or short name.
pub fn enumeration(name: &str) -> Option<Rc<EnumType>> {
    let fits = |full: &str| {
        full.eq_ignore_ascii_case(name)
            || full.rsplit('.').next().is_some_and(|short| short.eq_ignore_ascii_case(name))
    };
    MADE.with(|all| all.iter().find(|kind| fits(&kind.name)).cloned())
}

fn type_name(kind: Kind) -> String {
    format!("Microsoft.HyperV.PowerShell.{kind:?}")
}

/// Kinds of records that scripts name as types.
const KINDS: [Kind; 16] = [
    Kind::VirtualMachine,
    Kind::VMProcessor,
    Kind::VMMemory,
    Kind::VMHost,
    Kind::HardDiskDrive,
    Kind::DvdDrive,
    Kind::VHD,
    Kind::VMBootSource,
    Kind::VMFirmware,
    Kind::VMComPort,
    Kind::VMIntegrationService,
    Kind::VMNetworkAdapter,
    Kind::VMNetworkAdapterVlan,
    Kind::VMSwitch,
    Kind::VMMeteringReport,
    Kind::VMHostSupportedVersion,
];

/// The whole name of the type of such records.
pub fn class(name: &str) -> Option<String> {
    KINDS.iter().map(|kind| type_name(*kind)).find(|own| own.eq_ignore_ascii_case(name))
}

/// As the language has it; the record itself stays with the object.
pub fn from_record(record: Record) -> Value {
    if record.kind == Kind::Custom {
        let properties = record.properties.into_iter();
        return properties
            .fold(Object::custom(), |object, (name, value)| object.with(&name, from_managed(value)))
            .into_value();
    }
    let kind = record.kind;
    let object = Object::new(&type_name(kind)).with_payload(Rc::new(record.clone()));
    let properties = record.properties.into_iter();
    properties
        .fold(object, |object, (name, value)| object.with(&name, property(kind, &name, value)))
        .into_value()
}

fn property(kind: Kind, name: &str, value: Managed) -> Value {
    let of_enum = OF_ENUM.iter().find(|(own, property, _)| *own == kind && *property == name);
    if let (Some((.., at)), Managed::Text(word)) = (of_enum, &value) {
        let found = MADE.with(|all| {
            all[*at]
                .members
                .iter()
                .find(|(own, _)| **own == **word)
                .map(|(_, number)| EnumValue { kind: all[*at].clone(), value: *number })
        });
        if let Some(found) = found {
            return Value::Enum(found);
        }
    }
    from_managed(value)
}

pub fn from_managed(value: Managed) -> Value {
    match value {
        Managed::Null => Value::Null,
        Managed::Bool(value) => value.into(),
        Managed::Int(number) => number.into(),
        Managed::Float(number) => Value::double(number),
        Managed::Text(text) => text.into(),
        Managed::Guid(guid) => {
            let said = guid.to_string();
            ireko_script::types::Guid::parse(&said).map_or_else(|| said.as_str().into(), Value::Guid)
        }
        Managed::Duration(duration) => {
            Value::Span(TimeSpan { ticks: i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX) })
        }
        Managed::Time(seconds) => {
            Value::Date(DateTime::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX)))
        }
        Managed::List(items) => Value::array(items.into_iter().map(from_managed).collect()),
        Managed::Record(record) => from_record(*record),
    }
}

/// The record that an object is.
pub fn record(value: &Value) -> Option<Rc<Record>> {
    let Value::Object(object) = value else { return None };
    object.payload.clone()?.downcast::<Record>().ok()
}

/// As operations take it.
pub fn to_managed(value: &Value) -> Managed {
    managed(value, DEEPEST)
}

/// Objects within objects: one may hold itself.
const DEEPEST: usize = 16;

fn managed(value: &Value, depth: usize) -> Managed {
    let Some(depth) = depth.checked_sub(1) else { return Managed::text(text(value)) };
    match value {
        Value::Null => Managed::Null,
        Value::Bool(value) => Managed::Bool(*value),
        Value::Number(Number::Integer(number, _)) => match i64::try_from(*number) {
            Ok(number) => Managed::Int(number),
            Err(_) => Managed::Float(*number as f64),
        },
        Value::Number(number) => Managed::Float(number.as_f64()),
        Value::Guid(guid) => {
            guid.to_string().parse::<Guid>().map_or_else(|_| Managed::text(guid.to_string()), Managed::Guid)
        }
        Value::Span(span) => Managed::Duration(Duration::from_nanos(
            u64::try_from(span.ticks).unwrap_or(0).saturating_mul(100),
        )),
        Value::Date(date) => Managed::Time(u64::try_from(date.unix_seconds()).unwrap_or(0)),
        Value::Array(array) => Managed::List(array.items().iter().map(|item| managed(item, depth)).collect()),
        Value::Map(map) => {
            let pairs = map.pairs().into_iter();
            Managed::Record(Box::new(pairs.fold(Record::new(Kind::Custom), |made, (key, value)| {
                made.with(text(&key), managed(&value, depth))
            })))
        }
        Value::Object(object) => match record(value) {
            Some(record) => Managed::Record(Box::new((*record).clone())),
            None if object.names().is_empty() => Managed::text(text(value)),
            None => {
                let names = object.names().into_iter();
                let made = names.fold(Record::new(Kind::Custom), |made, name| {
                    let value = object.note(&name).unwrap_or_default();
                    made.with(name.to_string(), managed(&value, depth))
                });
                Managed::Record(Box::new(made))
            }
        },
        other => Managed::text(text(other)),
    }
}

/// For one parameter: a number that is meant as text is what was typed.
pub fn typed(parameter: &Parameter, value: &Value, written: Option<&str>) -> Managed {
    let as_text =
        matches!(parameter.kind, Type::Text | Type::Path | Type::Guid | Type::Enum(_) | Type::AnyOf(_));
    match (value, written) {
        (Value::Number(_), Some(written)) if as_text => Managed::text(written),
        (Value::Array(array), Some(written)) if as_text => {
            let mut each = written.split('\0');
            let one = |value: &Value| match each.next() {
                Some(written) if !written.is_empty() && matches!(value, Value::Number(_)) => {
                    Managed::text(written)
                }
                _ => to_managed(value),
            };
            Managed::List(array.items().iter().map(one).collect())
        }
        (value, _) if as_text && parameter.kind == Type::Path => match to_managed(value) {
            Managed::Text(path) => Managed::Text(ireko_script::interpret::native(&path)),
            other => other,
        },
        (value, _) => to_managed(value),
    }
}
