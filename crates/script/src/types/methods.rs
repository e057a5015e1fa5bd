//! Properties and methods that need no script to run.

use super::date::{DateKind, DateTime};
use super::span::{DAY, SECOND, TimeSpan};
use super::text_methods::{Called, invoke_pattern, invoke_text, order, whole};
use super::{Type, convert, formatted, text, type_name};
use crate::error::ErrorRecord;
use crate::value::{Array, ArrayKind, EnumType, Map, Number, Object, Value};
use std::rc::Rc;

/// A property that a value has by its type; nothing if it has none of that name.
pub fn plain_member(value: &Value, name: &str) -> Option<Value> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match value {
        Value::Text(text) if is("Length") => return Some(text.encode_utf16().count().into()),
        Value::Array(array) => {
            if is("Count") || is("Length") || is("LongLength") {
                return Some(array.len().into());
            }
            if is("IsFixedSize") {
                return Some(array.is_fixed().into());
            }
            if is("Rank") {
                return Some(Value::int(1));
            }
            if is("Capacity") && !array.is_fixed() {
                return Some(array.len().into());
            }
        }
        Value::Map(map) => return map_member(map, name),
        Value::Date(date) => return date_member(*date, name),
        Value::Span(span) => return span_member(*span, name),
        Value::Version(version) => {
            let at = ["Major", "Minor", "Build", "Revision"].iter().position(|part| is(part))?;
            return Some(Value::int(version.parts[at].into()));
        }
        Value::Address(address) => {
            return match name.to_ascii_lowercase().as_str() {
                "ipaddresstostring" => Some(address.to_string().into()),
                "addressfamily" => {
                    Some(if address.is_ipv4() { "InterNetwork" } else { "InterNetworkV6" }.into())
                }
                _ => None,
            };
        }
        Value::Enum(own) if is("value__") => return Some(Value::int(own.value)),
        Value::Bool(own) if is("IsPresent") => return Some((*own).into()),
        Value::Type(kind) => return type_member(kind, name),
        Value::Error(record) => return record_member(record, name),
        Value::Exception(exception) => {
            return match name.to_ascii_lowercase().as_str() {
                "message" => Some(Value::Text(exception.message.clone())),
                "innerexception" => Some(exception.inner.clone().map_or(Value::Null, Value::Exception)),
                "data" => Some(Value::Map(Rc::new(Map::new(crate::value::MapKind::Hashtable)))),
                "stacktrace" | "helplink" | "source" => Some(Value::Null),
                "hresult" => Some(Value::int(-2_146_233_088)),
                _ => None,
            };
        }
        Value::Block(closure) if is("Ast") => return Some(closure.block.text().into()),
        _ => {}
    }
    None
}

fn map_member(map: &Rc<Map>, name: &str) -> Option<Value> {
    if let Some(found) = map.by_name(name) {
        return Some(found);
    }
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    if is("Keys") {
        return Some(Value::array(map.pairs().into_iter().map(|(key, _)| key).collect()));
    }
    if is("Values") {
        return Some(Value::array(map.pairs().into_iter().map(|(_, value)| value).collect()));
    }
    (is("Count") || is("Length")).then(|| map.len().into())
}

fn type_member(kind: &Type, name: &str) -> Option<Value> {
    Some(match name.to_ascii_lowercase().as_str() {
        "name" => kind.name().into(),
        "fullname" => kind.full_name().into(),
        "namespace" => kind.full_name().rsplit_once('.').map_or("", |(space, _)| space).into(),
        "isarray" => matches!(kind, Type::Array(_)).into(),
        "isenum" => matches!(kind, Type::Enum(_)).into(),
        "basetype" => Value::Type(Rc::new(match kind {
            Type::Array(_) => Type::Class("System.Array".into()),
            Type::Enum(_) => Type::Class("System.Enum".into()),
            Type::Integer(_) | Type::Double | Type::Bool | Type::DateTime => {
                Type::Class("System.ValueType".into())
            }
            _ => Type::Object,
        })),
        _ => return None,
    })
}

fn record_member(record: &Rc<ErrorRecord>, name: &str) -> Option<Value> {
    Some(match name.to_ascii_lowercase().as_str() {
        "exception" => Value::Exception(record.exception.clone()),
        "targetobject" => {
            record.thrown.as_ref().or(record.target.as_ref()).map_or(Value::Null, |target| (**target).clone())
        }
        "fullyqualifiederrorid" => Value::Text(record.id.clone()),
        "categoryinfo" => {
            let target = record.target.as_deref().map(text).unwrap_or_default();
            let kind = record
                .target
                .as_ref()
                .map(|target| type_name(target).rsplit('.').next().unwrap_or_default().to_owned());
            Object::new("System.Management.Automation.ErrorCategoryInfo")
                .with("Category", Value::Text(record.category.clone()))
                .with("Activity", Value::Text(record.activity.clone()))
                .with("Reason", record.exception.short_name())
                .with("TargetName", target)
                .with("TargetType", kind.unwrap_or_default())
                .shown_as(&record.category_line())
                .into_value()
        }
        "errordetails" => Value::Null,
        "scriptstacktrace" => match record.position.borrow().as_ref() {
            Some(position) => {
                let path = if position.source.path.is_empty() { "<No file>" } else { &position.source.path };
                format!("at <ScriptBlock>, {path}: line {}", position.line()).into()
            }
            None => "".into(),
        },
        "invocationinfo" => {
            let position = record.position.borrow();
            let (line, column, text, path, message) = match position.as_ref() {
                Some(position) => (
                    position.line(),
                    position.column(),
                    position.line_text().to_owned(),
                    position.source.path.clone(),
                    crate::error::position_lines(position),
                ),
                None => Default::default(),
            };
            Object::new("System.Management.Automation.InvocationInfo")
                .with("MyCommand", Value::Text(record.activity.clone()))
                .with("ScriptLineNumber", line)
                .with("OffsetInLine", column)
                .with("ScriptName", path)
                .with("Line", text)
                .with("PositionMessage", message.trim_end())
                .into_value()
        }
        _ => return None,
    })
}

pub fn date_member(date: DateTime, name: &str) -> Option<Value> {
    let parts = date.parts();
    Some(match name.to_ascii_lowercase().as_str() {
        "year" => Value::int(parts.year),
        "month" => Value::int(parts.month),
        "day" => Value::int(parts.day),
        "hour" => Value::int(parts.hour),
        "minute" => Value::int(parts.minute),
        "second" => Value::int(parts.second),
        "millisecond" => Value::int(parts.fraction / 10_000),
        "ticks" => Value::Number(Number::Integer(date.ticks.into(), crate::value::IntegerKind::Int64)),
        "dayofweek" => day_of_week(date.day_of_week()),
        "dayofyear" => Value::int(date.day_of_year()),
        "date" => Value::Date(DateTime { ticks: date.ticks - date.ticks % DAY, ..date }),
        "timeofday" => Value::Span(TimeSpan { ticks: date.ticks % DAY }),
        "kind" => match date.kind {
            DateKind::Unspecified => "Unspecified",
            DateKind::Utc => "Utc",
            DateKind::Local => "Local",
        }
        .into(),
        _ => return None,
    })
}

fn day_of_week(day: i64) -> Value {
    let kind: Option<Rc<EnumType>> = super::name::known_enum("System.DayOfWeek");
    kind.map_or(Value::int(day), |kind| Value::Enum(crate::value::EnumValue { kind, value: day }))
}

pub fn span_member(span: TimeSpan, name: &str) -> Option<Value> {
    let seconds = span.ticks / SECOND;
    Some(match name.to_ascii_lowercase().as_str() {
        "days" => Value::int(seconds / 86_400),
        "hours" => Value::int(seconds / 3600 % 24),
        "minutes" => Value::int(seconds / 60 % 60),
        "seconds" => Value::int(seconds % 60),
        "milliseconds" => Value::int(span.ticks / 10_000 % 1000),
        "ticks" => Value::Number(Number::Integer(span.ticks.into(), crate::value::IntegerKind::Int64)),
        "totaldays" => Value::double(span.ticks as f64 / DAY as f64),
        "totalhours" => Value::double(span.seconds() / 3600.0),
        "totalminutes" => Value::double(span.seconds() / 60.0),
        "totalseconds" => Value::double(span.seconds()),
        "totalmilliseconds" => Value::double(span.ticks as f64 / 10_000.0),
        _ => return None,
    })
}

/// A method of a value; nothing if it has none of that name.
pub fn invoke_plain(value: &Value, name: &str, arguments: &[Value]) -> Called {
    let lower = name.to_ascii_lowercase();
    let own = match value {
        Value::Text(text) => invoke_text(text, name, arguments)?,
        Value::Char(c) if lower != "tostring" && lower != "equals" => {
            invoke_text(&c.to_string(), name, arguments)?
        }
        Value::Array(array) => invoke_array(array, &lower, arguments)?,
        Value::Map(map) => invoke_map(map, &lower, arguments)?,
        Value::Date(date) => invoke_date(*date, &lower, arguments)?,
        Value::Span(span) => invoke_span(*span, &lower, arguments)?,
        Value::Regex(pattern) => invoke_pattern(pattern, name, arguments)?,
        Value::Enum(own) if lower == "hasflag" => {
            let bits = whole(arguments.first()).unwrap_or(0);
            Some((own.value & bits == bits).into())
        }
        Value::Address(address) if lower == "getaddressbytes" => {
            let bytes = match address {
                std::net::IpAddr::V4(address) => address.octets().to_vec(),
                std::net::IpAddr::V6(address) => address.octets().to_vec(),
            };
            Some(super::statics::bytes(&bytes))
        }
        Value::Error(record) if lower == "tostring" => Some(record.message().into()),
        Value::Exception(exception) if lower == "getbaseexception" => {
            let mut base = exception.clone();
            while let Some(inner) = &base.inner {
                base = inner.clone();
            }
            Some(Value::Exception(base))
        }
        Value::Type(kind) if lower == "isassignablefrom" || lower == "isinstanceoftype" => {
            Some(arguments.first().is_some_and(|value| super::is_instance(value, kind)).into())
        }
        _ => None,
    };
    match own {
        Some(found) => Ok(Some(found)),
        None => of_all(value, &lower, arguments),
    }
}

/// What every object has.
fn of_all(value: &Value, name: &str, arguments: &[Value]) -> Called {
    Ok(Some(match (name, arguments) {
        ("tostring", []) => match value {
            Value::Map(_) | Value::Array(_) => type_name(value).into(),
            Value::Type(kind) => kind.full_name().into(),
            Value::Date(date) => super::format_date(*date, "G").unwrap_or_default().into(),
            other => text(other).into(),
        },
        ("tostring", [pattern, ..]) => formatted(value, &text(pattern))
            .ok_or_else(|| {
                let message = "Format specifier was invalid.";
                ErrorRecord::method("System.FormatException", "ToString", arguments.len(), message)
            })?
            .into(),
        ("equals", [other]) => crate::interpret::equal(value, other, crate::syntax::Case::Exact).into(),
        ("compareto", [other]) => match crate::interpret::order(value, other, crate::syntax::Case::Exact) {
            Some(order) => Value::int(order as i64),
            None => Value::int(order(&text(value), &text(other))),
        },
        ("gethashcode", []) => Value::int(
            text(value).bytes().fold(7, |hash: i64, byte| (hash * 31 + i64::from(byte)) % 2_147_483_647),
        ),
        ("gettype", []) => return Ok(None),
        _ => return Ok(None),
    }))
}

fn invoke_array(array: &Rc<Array>, name: &str, arguments: &[Value]) -> Called {
    let first = arguments.first().cloned().unwrap_or_default();
    let find = |wanted: &Value| {
        array.items().iter().position(|own| {
            own.same(wanted) || crate::interpret::equal(own, wanted, crate::syntax::Case::Exact)
        })
    };
    let found = match name {
        "contains" => find(&first).is_some().into(),
        "indexof" => find(&first).map_or(Value::int(-1), Value::from),
        "getlength" | "getlonglength" => array.len().into(),
        "getupperbound" => Value::int(array.len() as i64 - 1),
        "getlowerbound" => Value::int(0),
        "toarray" => Value::array(array.items().clone()),
        "clone" => Value::Array(Rc::new(Array::new(array.items().clone(), array.kind.clone()))),
        "getenumerator" => Value::array(array.items().clone()),
        "getvalue" => {
            index_of(array, arguments.first()).map(|at| array.items()[at].clone()).unwrap_or_default()
        }
        "setvalue" => {
            let at = index_of(array, arguments.get(1)).ok_or_else(|| out_of_bounds("SetValue", 2))?;
            array.items_mut()[at] = first;
            Value::Null
        }
        _ => return change_array(array, name, arguments),
    };
    Ok(Some(found))
}

fn index_of(array: &Array, value: Option<&Value>) -> Option<usize> {
    whole(value).and_then(|at| usize::try_from(at).ok()).filter(|at| *at < array.len())
}

fn out_of_bounds(method: &str, count: usize) -> ErrorRecord {
    let message = "Index was out of range. Must be non-negative and less than the size of the collection.";
    ErrorRecord::method("System.ArgumentOutOfRangeException", method, count, message)
}

/// What changes a list; nothing if this kind of list has no such method.
fn change_array(array: &Rc<Array>, name: &str, arguments: &[Value]) -> Called {
    let of_its_kind = match array.kind {
        ArrayKind::Queue => matches!(name, "enqueue" | "dequeue" | "peek" | "clear"),
        ArrayKind::Stack => matches!(name, "push" | "pop" | "peek" | "clear"),
        ArrayKind::HashSet => {
            matches!(name, "add" | "remove" | "clear" | "unionwith" | "exceptwith" | "intersectwith")
        }
        _ => matches!(
            name,
            "add"
                | "addrange"
                | "insert"
                | "insertrange"
                | "remove"
                | "removeat"
                | "removerange"
                | "clear"
                | "sort"
                | "reverse"
                | "trimexcess"
        ),
    };
    if !of_its_kind || (array.is_fixed() && matches!(name, "sort" | "reverse")) {
        return Ok(None);
    }
    if array.is_fixed() {
        let shown = if name == "add" { "Add" } else { name };
        let message = "Collection was of a fixed size.";
        return Err(ErrorRecord::method("System.NotSupportedException", shown, arguments.len(), message));
    }
    match name {
        "add" | "enqueue" | "push" | "addrange" | "insert" | "insertrange" | "unionwith" => {
            grow(array, name, arguments)
        }
        "dequeue" | "pop" | "peek" => next_of(array, name).map(Some),
        "remove" | "removeat" | "removerange" | "exceptwith" | "intersectwith" => {
            shrink(array, name, arguments)
        }
        "clear" => {
            array.items_mut().clear();
            Ok(Some(Value::Null))
        }
        "reverse" => {
            array.items_mut().reverse();
            Ok(Some(Value::Null))
        }
        "sort" => {
            let sorted = crate::interpret::sorted(array.items().clone());
            *array.items_mut() = sorted;
            Ok(Some(Value::Null))
        }
        _ => Ok(Some(Value::Null)),
    }
}

fn alike(one: &Value, other: &Value) -> bool {
    one.same(other) || crate::interpret::equal(one, other, crate::syntax::Case::Exact)
}

fn grow(array: &Rc<Array>, name: &str, arguments: &[Value]) -> Called {
    let converted = |value: &Value| array.element().map_or(Ok(value.clone()), |kind| convert(value, kind));
    let first = arguments.first().cloned().unwrap_or_default();
    let has = |wanted: &Value| array.items().iter().any(|own| alike(own, wanted));
    let found = match name {
        "add" if matches!(array.kind, ArrayKind::HashSet) => {
            let is_new = !has(&first);
            if is_new {
                array.items_mut().push(first);
            }
            is_new.into()
        }
        "add" | "enqueue" | "push" => {
            let value = converted(&first)?;
            array.items_mut().push(value);
            // ArrayList gives the place; List<T> gives nothing.
            let gives = name == "add" && matches!(array.kind, ArrayKind::ArrayList);
            if gives { Value::from(array.len() - 1) } else { Value::Null }
        }
        "insert" | "insertrange" => {
            let at = whole(arguments.first()).and_then(|at| usize::try_from(at).ok());
            let at = at.filter(|at| *at <= array.len()).ok_or_else(|| out_of_bounds("Insert", 2))?;
            let given = arguments.get(1).unwrap_or(&Value::Null);
            let more = if name == "insert" { vec![given.clone()] } else { given.some_elements() };
            let more = more.iter().map(converted).collect::<Result<Vec<_>, _>>()?;
            array.items_mut().splice(at..at, more);
            Value::Null
        }
        _ => {
            for value in first.some_elements() {
                if name == "addrange" || !has(&value) {
                    let value = converted(&value)?;
                    array.items_mut().push(value);
                }
            }
            Value::Null
        }
    };
    Ok(Some(found))
}

fn shrink(array: &Rc<Array>, name: &str, arguments: &[Value]) -> Called {
    let first = arguments.first().cloned().unwrap_or_default();
    let found = match name {
        "exceptwith" | "intersectwith" => {
            let others = first.some_elements();
            let among = |own: &Value| others.iter().any(|other| alike(own, other));
            array.items_mut().retain(|own| among(own) == (name == "intersectwith"));
            Value::Null
        }
        "remove" => {
            let at = array.items().iter().position(|own| alike(own, &first));
            if let Some(at) = at {
                array.items_mut().remove(at);
            }
            if matches!(array.kind, ArrayKind::ArrayList) { Value::Null } else { at.is_some().into() }
        }
        "removeat" => {
            let at = index_of(array, arguments.first()).ok_or_else(|| out_of_bounds("RemoveAt", 1))?;
            array.items_mut().remove(at);
            Value::Null
        }
        _ => {
            let wrong = || out_of_bounds("RemoveRange", 2);
            let number = |at: usize| whole(arguments.get(at)).and_then(|number| usize::try_from(number).ok());
            let (from, count) = number(0).zip(number(1)).ok_or_else(wrong)?;
            let end = from.checked_add(count).filter(|end| *end <= array.len()).ok_or_else(wrong)?;
            array.items_mut().drain(from..end);
            Value::Null
        }
    };
    Ok(Some(found))
}

/// Of a queue or a stack.
fn next_of(array: &Rc<Array>, name: &str) -> Result<Value, ErrorRecord> {
    let is_stack = matches!(array.kind, ArrayKind::Stack);
    let mut items = array.items_mut();
    let taken = match name {
        "dequeue" if !items.is_empty() => Some(items.remove(0)),
        "pop" => items.pop(),
        "peek" if is_stack => items.last().cloned(),
        "peek" => items.first().cloned(),
        _ => None,
    };
    taken.ok_or_else(|| {
        let message = if is_stack { "Stack empty." } else { "Queue empty." };
        ErrorRecord::method("System.InvalidOperationException", name, 0, message)
    })
}

/// One pair of a dictionary, as GetEnumerator gives it.
pub fn entry(key: Value, value: Value) -> Value {
    Object::new("System.Collections.DictionaryEntry")
        .with("Name", key.clone())
        .with("Key", key)
        .with("Value", value)
        .shown_as("System.Collections.DictionaryEntry")
        .into_value()
}

fn invoke_map(map: &Rc<Map>, name: &str, arguments: &[Value]) -> Called {
    let first = arguments.first().cloned().unwrap_or_default();
    let found = match (name, arguments.len()) {
        ("containskey" | "contains", 1) => map.contains(&first).into(),
        ("containsvalue", 1) => map
            .pairs()
            .iter()
            .any(|(_, own)| crate::interpret::equal(own, &first, crate::syntax::Case::Exact))
            .into(),
        ("add", 2) => {
            if map.contains(&first) {
                let said = text(&first);
                let message = format!(
                    "Item has already been added. Key in dictionary: '{said}'  Key being added: '{said}'"
                );
                return Err(ErrorRecord::method("System.ArgumentException", "Add", 2, &message));
            }
            map.set(first, arguments[1].clone());
            Value::Null
        }
        ("remove", 1) => {
            map.remove(&first);
            Value::Null
        }
        ("clear", 0) => {
            map.clear();
            Value::Null
        }
        ("clone", 0) => {
            let copy = Map::new(map.kind);
            for (key, value) in map.pairs() {
                copy.set(key, value);
            }
            Value::Map(Rc::new(copy))
        }
        ("item" | "get_item", 1) => map.value(&first).unwrap_or_default(),
        ("set_item", 2) => {
            map.set(first, arguments[1].clone());
            Value::Null
        }
        ("getenumerator", 0) => {
            Value::array(map.pairs().into_iter().map(|(key, value)| entry(key, value)).collect())
        }
        _ => return Ok(None),
    };
    Ok(Some(found))
}

fn number(value: Option<&Value>) -> Option<f64> {
    convert::number(value?).map(Number::as_f64)
}

fn invoke_date(date: DateTime, name: &str, arguments: &[Value]) -> Called {
    let wrong = |name: &str| {
        let message = "The added or subtracted value results in an un-representable DateTime.";
        ErrorRecord::method("System.ArgumentOutOfRangeException", name, arguments.len(), message)
    };
    let units = [
        ("adddays", DAY),
        ("addhours", 3600 * SECOND),
        ("addminutes", 60 * SECOND),
        ("addseconds", SECOND),
        ("addmilliseconds", SECOND / 1000),
        ("addticks", 1),
    ];
    if let Some((_, unit)) = units.iter().find(|(own, _)| *own == name) {
        let ticks =
            number(arguments.first()).map(|count| count * *unit as f64).filter(|ticks| ticks.abs() < 9e18);
        let added = ticks.and_then(|ticks| date.plus(TimeSpan { ticks: ticks.round() as i64 }));
        return added.map(|date| Some(Value::Date(date))).ok_or_else(|| wrong(name));
    }
    let found = match (name, arguments) {
        ("addmonths" | "addyears", [count]) => {
            let months = whole(Some(count))
                .and_then(|count| count.checked_mul(if name == "addyears" { 12 } else { 1 }));
            months.and_then(|months| date.add_months(months)).map(Value::Date).ok_or_else(|| wrong(name))?
        }
        ("add" | "subtract", [Value::Span(span)]) => {
            let ticks = if name == "add" { span.ticks } else { -span.ticks };
            date.plus(TimeSpan { ticks }).map(Value::Date).ok_or_else(|| wrong(name))?
        }
        ("subtract", [Value::Date(other)]) => Value::Span(TimeSpan { ticks: date.ticks - other.ticks }),
        ("touniversaltime", []) => Value::Date(date.to_universal()),
        ("tolocaltime", []) => Value::Date(date.to_local()),
        ("toshortdatestring", []) => super::format_date(date, "d").unwrap_or_default().into(),
        ("tolongdatestring", []) => super::format_date(date, "D").unwrap_or_default().into(),
        ("toshorttimestring", []) => super::format_date(date, "t").unwrap_or_default().into(),
        ("tolongtimestring", []) => super::format_date(date, "T").unwrap_or_default().into(),
        ("tofiletime" | "tofiletimeutc", []) => Value::Number(Number::Integer(
            i128::from(date.to_universal().ticks) - 504_911_232_000_000_000,
            crate::value::IntegerKind::Int64,
        )),
        ("isdaylightsavingtime", []) => {
            let january = date.add_months(1 - date.parts().month).map_or(0, DateTime::offset);
            (date.offset() > january).into()
        }
        _ => return Ok(None),
    };
    Ok(Some(found))
}

fn invoke_span(span: TimeSpan, name: &str, arguments: &[Value]) -> Called {
    Ok(Some(match (name, arguments) {
        ("add" | "subtract", [Value::Span(other)]) => {
            let ticks = if name == "add" {
                span.ticks.checked_add(other.ticks)
            } else {
                span.ticks.checked_sub(other.ticks)
            };
            let ticks = ticks.ok_or_else(|| {
                ErrorRecord::method(
                    "System.OverflowException",
                    name,
                    1,
                    "TimeSpan overflowed because the duration is too long.",
                )
            })?;
            Value::Span(TimeSpan { ticks })
        }
        ("negate", []) => Value::Span(TimeSpan { ticks: -span.ticks }),
        ("duration", []) => Value::Span(TimeSpan { ticks: span.ticks.abs() }),
        _ => return Ok(None),
    }))
}

/// `[System.Int32]` and the like as `GetType()` gives it.
pub fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::Object,
        Value::Bool(_) => Type::Bool,
        Value::Char(_) => Type::Char,
        Value::Number(Number::Integer(_, kind)) => Type::Integer(*kind),
        Value::Number(Number::Single(_)) => Type::Single,
        Value::Number(Number::Double(_)) => Type::Double,
        Value::Number(Number::Decimal(_)) => Type::Decimal,
        Value::Text(_) | Value::Formatted(_) => Type::String,
        Value::Array(array) => match &array.kind {
            ArrayKind::Fixed => Type::Array(Rc::new(Type::Object)),
            ArrayKind::Typed(element) => Type::Array(element.clone()),
            ArrayKind::ArrayList => Type::ArrayList,
            ArrayKind::List(element) => Type::List(element.clone()),
            ArrayKind::Queue => Type::Queue,
            ArrayKind::Stack => Type::Stack,
            ArrayKind::HashSet => Type::HashSet,
        },
        Value::Map(map) => match map.kind {
            crate::value::MapKind::Hashtable => Type::Hashtable,
            crate::value::MapKind::Ordered => Type::Ordered,
            crate::value::MapKind::Dictionary => Type::Dictionary,
        },
        Value::Object(object) if object.is_custom() => Type::Custom,
        Value::Object(object) => Type::Class(object.type_name.clone()),
        Value::Block(_) => Type::ScriptBlock,
        Value::Enum(own) => Type::Enum(own.kind.clone()),
        Value::Date(_) => Type::DateTime,
        Value::Span(_) => Type::TimeSpan,
        Value::Guid(_) => Type::Guid,
        Value::Version(_) => Type::Version,
        Value::Address(_) => Type::Address,
        Value::Type(_) => Type::Type,
        Value::Error(_) => Type::ErrorRecord,
        Value::Exception(exception) => Type::Exception(exception.type_name.clone()),
        Value::Regex(_) => Type::Regex,
        Value::Reference(_) => Type::Reference,
    }
}
