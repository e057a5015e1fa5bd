//! Types and their names (about_Types, about_Type_Accelerators).

use super::Guid;
use crate::syntax::TypeName;
use crate::value::{Decimal, EnumType, IntegerKind};
use std::rc::Rc;

#[derive(Clone, Debug)]
pub enum Type {
    Object,
    Void,
    String,
    Char,
    Bool,
    Switch,
    Integer(IntegerKind),
    Single,
    Double,
    Decimal,
    DateTime,
    TimeSpan,
    Guid,
    Version,
    Address,
    Regex,
    ScriptBlock,
    Hashtable,
    Ordered,
    Dictionary,
    PSObject,
    Custom,
    Array(Rc<Type>),
    ArrayList,
    List(Rc<Type>),
    Queue,
    Stack,
    HashSet,
    Type,
    Reference,
    Enum(Rc<EnumType>),
    /// By its whole name.
    Exception(Rc<str>),
    ErrorRecord,
    /// `Nullable<T>`
    Nullable(Rc<Type>),
    /// Classes that only have static members, or instances that are objects with properties. By the whole name.
    Class(Rc<str>),
}

use IntegerKind as I;

/// Short names, and the whole ones behind `System.`.
const PLAIN: [(&str, Type); 52] = [
    ("object", Type::Object),
    ("void", Type::Void),
    ("string", Type::String),
    ("char", Type::Char),
    ("bool", Type::Bool),
    ("boolean", Type::Bool),
    ("switch", Type::Switch),
    ("management.automation.switchparameter", Type::Switch),
    ("sbyte", Type::Integer(I::SByte)),
    ("byte", Type::Integer(I::Byte)),
    ("short", Type::Integer(I::Int16)),
    ("int16", Type::Integer(I::Int16)),
    ("ushort", Type::Integer(I::UInt16)),
    ("uint16", Type::Integer(I::UInt16)),
    ("int", Type::Integer(I::Int32)),
    ("int32", Type::Integer(I::Int32)),
    ("uint", Type::Integer(I::UInt32)),
    ("uint32", Type::Integer(I::UInt32)),
    ("long", Type::Integer(I::Int64)),
    ("int64", Type::Integer(I::Int64)),
    ("ulong", Type::Integer(I::UInt64)),
    ("uint64", Type::Integer(I::UInt64)),
    ("float", Type::Single),
    ("single", Type::Single),
    ("double", Type::Double),
    ("decimal", Type::Decimal),
    ("datetime", Type::DateTime),
    ("timespan", Type::TimeSpan),
    ("guid", Type::Guid),
    ("version", Type::Version),
    ("ipaddress", Type::Address),
    ("net.ipaddress", Type::Address),
    ("regex", Type::Regex),
    ("text.regularexpressions.regex", Type::Regex),
    ("scriptblock", Type::ScriptBlock),
    ("management.automation.scriptblock", Type::ScriptBlock),
    ("hashtable", Type::Hashtable),
    ("collections.hashtable", Type::Hashtable),
    ("collections.idictionary", Type::Hashtable),
    ("ordered", Type::Ordered),
    ("collections.specialized.ordereddictionary", Type::Ordered),
    ("psobject", Type::PSObject),
    ("management.automation.psobject", Type::PSObject),
    ("pscustomobject", Type::Custom),
    ("management.automation.pscustomobject", Type::Custom),
    ("collections.arraylist", Type::ArrayList),
    ("collections.queue", Type::Queue),
    ("collections.stack", Type::Stack),
    ("type", Type::Type),
    ("ref", Type::Reference),
    ("management.automation.psreference", Type::Reference),
    ("management.automation.errorrecord", Type::ErrorRecord),
];

/// Classes with static members, or that New-Object makes, behind `System.`; short names too.
const CLASSES: [(&str, &str); 40] = [
    ("math", "System.Math"),
    ("environment", "System.Environment"),
    ("console", "System.Console"),
    ("convert", "System.Convert"),
    ("array", "System.Array"),
    ("random", "System.Random"),
    ("uri", "System.Uri"),
    ("enum", "System.Enum"),
    ("gc", "System.GC"),
    ("bitconverter", "System.BitConverter"),
    ("stringcomparison", "System.StringComparison"),
    ("io.path", "System.IO.Path"),
    ("io.file", "System.IO.File"),
    ("io.directory", "System.IO.Directory"),
    ("io.fileinfo", "System.IO.FileInfo"),
    ("io.directoryinfo", "System.IO.DirectoryInfo"),
    ("text.encoding", "System.Text.Encoding"),
    ("text.stringbuilder", "System.Text.StringBuilder"),
    ("text.utf8encoding", "System.Text.UTF8Encoding"),
    ("net.dns", "System.Net.Dns"),
    ("globalization.cultureinfo", "System.Globalization.CultureInfo"),
    ("cultureinfo", "System.Globalization.CultureInfo"),
    ("threading.thread", "System.Threading.Thread"),
    ("diagnostics.process", "System.Diagnostics.Process"),
    ("diagnostics.processstartinfo", "System.Diagnostics.ProcessStartInfo"),
    ("diagnostics.stopwatch", "System.Diagnostics.Stopwatch"),
    ("security.principal.windowsidentity", "System.Security.Principal.WindowsIdentity"),
    ("security.principal.windowsprincipal", "System.Security.Principal.WindowsPrincipal"),
    ("security.securestring", "System.Security.SecureString"),
    ("securestring", "System.Security.SecureString"),
    ("management.automation.pscredential", "System.Management.Automation.PSCredential"),
    ("pscredential", "System.Management.Automation.PSCredential"),
    ("net.networkcredential", "System.Net.NetworkCredential"),
    ("management.automation.language.parser", "System.Management.Automation.Language.Parser"),
    ("runtime.interopservices.marshal", "System.Runtime.InteropServices.Marshal"),
    ("collections.generic.keyvaluepair", "System.Collections.Generic.KeyValuePair"),
    ("collections.dictionaryentry", "System.Collections.DictionaryEntry"),
    ("runtime.interopservices.runtimeinformation", "System.Runtime.InteropServices.RuntimeInformation"),
    ("management.automation.host.choicedescription", "System.Management.Automation.Host.ChoiceDescription"),
    ("intptr", "System.IntPtr"),
];

/// Enumerations of .NET that scripts name.
const ENUMS: [(&str, &[(&str, i64)]); 10] = [
    (
        "System.DayOfWeek",
        &[
            ("Sunday", 0),
            ("Monday", 1),
            ("Tuesday", 2),
            ("Wednesday", 3),
            ("Thursday", 4),
            ("Friday", 5),
            ("Saturday", 6),
        ],
    ),
    ("System.StringSplitOptions", &[("None", 0), ("RemoveEmptyEntries", 1), ("TrimEntries", 2)]),
    (
        "System.StringComparison",
        &[
            ("CurrentCulture", 0),
            ("CurrentCultureIgnoreCase", 1),
            ("InvariantCulture", 2),
            ("InvariantCultureIgnoreCase", 3),
            ("Ordinal", 4),
            ("OrdinalIgnoreCase", 5),
        ],
    ),
    (
        "System.ConsoleColor",
        &[
            ("Black", 0),
            ("DarkBlue", 1),
            ("DarkGreen", 2),
            ("DarkCyan", 3),
            ("DarkRed", 4),
            ("DarkMagenta", 5),
            ("DarkYellow", 6),
            ("Gray", 7),
            ("DarkGray", 8),
            ("Blue", 9),
            ("Green", 10),
            ("Cyan", 11),
            ("Red", 12),
            ("Magenta", 13),
            ("Yellow", 14),
            ("White", 15),
        ],
    ),
    (
        "System.Management.Automation.ActionPreference",
        &[
            ("SilentlyContinue", 0),
            ("Stop", 1),
            ("Continue", 2),
            ("Inquire", 3),
            ("Ignore", 4),
            ("Suspend", 5),
            ("Break", 6),
        ],
    ),
    (
        "System.Security.Principal.WindowsBuiltInRole",
        &[("Administrator", 0x220), ("User", 0x221), ("Guest", 0x222), ("PowerUser", 0x223)],
    ),
    ("System.MidpointRounding", &[("ToEven", 0), ("AwayFromZero", 1)]),
    (
        "System.Environment+SpecialFolder",
        &[
            ("Desktop", 0),
            ("Personal", 5),
            ("MyDocuments", 5),
            ("ApplicationData", 26),
            ("LocalApplicationData", 28),
            ("UserProfile", 40),
        ],
    ),
    (
        "System.Text.RegularExpressions.RegexOptions",
        &[
            ("None", 0),
            ("IgnoreCase", 1),
            ("Multiline", 2),
            ("ExplicitCapture", 4),
            ("Singleline", 16),
            ("IgnorePatternWhitespace", 32),
        ],
    ),
    ("System.DateTimeKind", &[("Unspecified", 0), ("Utc", 1), ("Local", 2)]),
];

fn builtin_enum(name: &str) -> Option<Rc<EnumType>> {
    thread_local! {
        static MADE: Vec<Rc<EnumType>> = ENUMS.iter().map(|(name, members)| EnumType::new(name, members)).collect();
    }
    let short = |full: &str| full.strip_prefix("System.").unwrap_or(full).to_ascii_lowercase();
    MADE.with(|all| {
        all.iter()
            .find(|kind| {
                short(&kind.name) == name || (name == "consolecolor" && kind.name.ends_with("ConsoleColor"))
            })
            .cloned()
    })
}

/// An enumeration of .NET's by its whole name.
pub(super) fn known_enum(name: &str) -> Option<Rc<EnumType>> {
    builtin_enum(&name.strip_prefix("System.").unwrap_or(name).to_ascii_lowercase())
}

/// What a name means; `own` are enumerations that a script or a host has.
pub fn lookup(name: &TypeName, own: &dyn Fn(&str) -> Option<Rc<EnumType>>) -> Option<Type> {
    let mut kind = bare(name, own)?;
    for _ in 0..name.arrays {
        kind = Type::Array(Rc::new(kind));
    }
    Some(kind)
}

fn bare(name: &TypeName, own: &dyn Fn(&str) -> Option<Rc<EnumType>>) -> Option<Type> {
    if let Some(kind) = own(&name.name) {
        return Some(Type::Enum(kind));
    }
    let lower = name.name.to_ascii_lowercase();
    let short = lower.strip_prefix("system.").unwrap_or(&lower);
    let argument =
        || name.arguments.first().map_or(Some(Type::Object), |argument| lookup(argument, own)).map(Rc::new);
    match short.split('`').next().unwrap_or(short) {
        "collections.generic.list" | "list" | "collections.objectmodel.collection" => {
            return Some(Type::List(argument()?));
        }
        "collections.generic.queue" => return Some(Type::Queue),
        "collections.generic.stack" => return Some(Type::Stack),
        "collections.generic.hashset" => return Some(Type::HashSet),
        "collections.generic.dictionary" | "collections.generic.sorteddictionary" => {
            return Some(Type::Dictionary);
        }
        "nullable" if !name.arguments.is_empty() => return Some(Type::Nullable(argument()?)),
        "array" if lower == "array" => return Some(Type::Array(Rc::new(Type::Object))),
        "exception" => return Some(Type::Exception("System.Exception".into())),
        _ => {}
    }
    if let Some((_, kind)) = PLAIN.iter().find(|(own, _)| *own == short) {
        return Some(kind.clone());
    }
    if let Some(kind) = builtin_enum(short) {
        return Some(Type::Enum(kind));
    }
    if let Some((_, full)) = CLASSES.iter().find(|(own, _)| *own == short) {
        return Some(Type::Class((*full).into()));
    }
    exception_name(&name.name).map(Type::Exception)
}

/// Exceptions that scripts name, each below its parent.
const EXCEPTIONS: [(&str, &str); 44] = [
    ("System.Exception", ""),
    ("System.SystemException", "System.Exception"),
    ("System.ApplicationException", "System.Exception"),
    ("System.ArgumentException", "System.SystemException"),
    ("System.ArgumentNullException", "System.ArgumentException"),
    ("System.ArgumentOutOfRangeException", "System.ArgumentException"),
    ("System.ArithmeticException", "System.SystemException"),
    ("System.DivideByZeroException", "System.ArithmeticException"),
    ("System.OverflowException", "System.ArithmeticException"),
    ("System.FormatException", "System.SystemException"),
    ("System.IndexOutOfRangeException", "System.SystemException"),
    ("System.InvalidCastException", "System.SystemException"),
    ("System.InvalidOperationException", "System.SystemException"),
    ("System.NotImplementedException", "System.SystemException"),
    ("System.NotSupportedException", "System.SystemException"),
    ("System.NullReferenceException", "System.SystemException"),
    ("System.OutOfMemoryException", "System.SystemException"),
    ("System.TimeoutException", "System.SystemException"),
    ("System.UnauthorizedAccessException", "System.SystemException"),
    ("System.OperationCanceledException", "System.SystemException"),
    ("System.Collections.Generic.KeyNotFoundException", "System.SystemException"),
    ("System.IO.IOException", "System.SystemException"),
    ("System.IO.FileNotFoundException", "System.IO.IOException"),
    ("System.IO.DirectoryNotFoundException", "System.IO.IOException"),
    ("System.IO.PathTooLongException", "System.IO.IOException"),
    ("System.Security.SecurityException", "System.SystemException"),
    ("System.ComponentModel.Win32Exception", "System.SystemException"),
    ("System.Net.WebException", "System.InvalidOperationException"),
    ("System.Management.Automation.RuntimeException", "System.SystemException"),
    (
        "System.Management.Automation.ActionPreferenceStopException",
        "System.Management.Automation.RuntimeException",
    ),
    (
        "System.Management.Automation.CommandNotFoundException",
        "System.Management.Automation.RuntimeException",
    ),
    ("System.Management.Automation.MethodException", "System.Management.Automation.RuntimeException"),
    (
        "System.Management.Automation.MethodInvocationException",
        "System.Management.Automation.MethodException",
    ),
    (
        "System.Management.Automation.ParameterBindingException",
        "System.Management.Automation.RuntimeException",
    ),
    (
        "System.Management.Automation.ParameterBindingValidationException",
        "System.Management.Automation.ParameterBindingException",
    ),
    ("System.Management.Automation.ParentContainsErrorRecordException", "System.SystemException"),
    (
        "System.Management.Automation.PipelineStoppedException",
        "System.Management.Automation.RuntimeException",
    ),
    ("System.Management.Automation.PSArgumentException", "System.ArgumentException"),
    ("System.Management.Automation.PSInvalidCastException", "System.InvalidCastException"),
    ("System.Management.Automation.PSInvalidOperationException", "System.InvalidOperationException"),
    ("System.Management.Automation.PSNotSupportedException", "System.NotSupportedException"),
    ("System.Management.Automation.SessionStateException", "System.Management.Automation.RuntimeException"),
    (
        "System.Management.Automation.ItemNotFoundException",
        "System.Management.Automation.SessionStateException",
    ),
    ("System.Management.Automation.WriteErrorException", "System.SystemException"),
];

/// The whole name of an exception; one that nobody knows is taken by its name.
pub fn exception_name(name: &str) -> Option<Rc<str>> {
    let lower = name.to_ascii_lowercase();
    let known = EXCEPTIONS.iter().find(|(full, _)| {
        let full = full.to_ascii_lowercase();
        full == lower
            || full.strip_prefix("system.") == Some(lower.as_str())
            || full.ends_with(&format!(".{lower}"))
    });
    match known {
        Some((full, _)) => Some((*full).into()),
        None if lower.ends_with("exception") => Some(name.into()),
        None => None,
    }
}

/// Whether an exception is of this type or one below it.
pub fn exception_is(name: &str, wanted: &str) -> bool {
    let mut own = name;
    loop {
        if own.eq_ignore_ascii_case(wanted) {
            return true;
        }
        match EXCEPTIONS.iter().find(|(full, _)| full.eq_ignore_ascii_case(own)) {
            Some((_, parent)) if !parent.is_empty() => own = parent,
            Some(_) => return false,
            // What only a host knows.
            None => own = "System.SystemException",
        }
    }
}

impl Type {
    /// The .NET name.
    pub fn full_name(&self) -> String {
        match self {
            Self::Object => "System.Object".into(),
            Self::Void => "System.Void".into(),
            Self::String => "System.String".into(),
            Self::Char => "System.Char".into(),
            Self::Bool => "System.Boolean".into(),
            Self::Switch => "System.Management.Automation.SwitchParameter".into(),
            Self::Integer(kind) => format!("System.{}", kind.name()),
            Self::Single => "System.Single".into(),
            Self::Double => "System.Double".into(),
            Self::Decimal => "System.Decimal".into(),
            Self::DateTime => "System.DateTime".into(),
            Self::TimeSpan => "System.TimeSpan".into(),
            Self::Guid => "System.Guid".into(),
            Self::Version => "System.Version".into(),
            Self::Address => "System.Net.IPAddress".into(),
            Self::Regex => "System.Text.RegularExpressions.Regex".into(),
            Self::ScriptBlock => "System.Management.Automation.ScriptBlock".into(),
            Self::Hashtable => "System.Collections.Hashtable".into(),
            Self::Ordered => "System.Collections.Specialized.OrderedDictionary".into(),
            Self::Dictionary => "System.Collections.Generic.Dictionary`2[System.Object,System.Object]".into(),
            Self::PSObject => "System.Management.Automation.PSObject".into(),
            Self::Custom => crate::value::CUSTOM.into(),
            Self::Array(element) => element.full_name() + "[]",
            Self::ArrayList => "System.Collections.ArrayList".into(),
            Self::List(element) => format!("System.Collections.Generic.List`1[{}]", element.full_name()),
            Self::Queue => "System.Collections.Queue".into(),
            Self::Stack => "System.Collections.Stack".into(),
            Self::HashSet => "System.Collections.Generic.HashSet`1[System.Object]".into(),
            Self::Type => "System.RuntimeType".into(),
            Self::Reference => "System.Management.Automation.PSReference".into(),
            Self::Enum(kind) => kind.name.to_string(),
            Self::Exception(name) | Self::Class(name) => name.to_string(),
            Self::ErrorRecord => "System.Management.Automation.ErrorRecord".into(),
            Self::Nullable(inner) => format!("System.Nullable`1[{}]", inner.full_name()),
        }
    }

    /// Without its namespace; of generic types with the number of arguments, as .NET's Name is.
    pub fn name(&self) -> String {
        let full = self.full_name();
        let (head, tail) = full
            .split_once('[')
            .map_or((full.as_str(), ""), |(head, tail)| (head, if tail == "]" { "[]" } else { "" }));
        head.rsplit('.').next().unwrap_or(head).to_owned() + tail
    }

    /// What a variable of this type holds before it is given anything.
    pub fn default_value(&self) -> crate::value::Value {
        use crate::value::{Number, Value};
        match self {
            Self::String => Value::text(""),
            Self::Bool | Self::Switch => Value::Bool(false),
            Self::Integer(kind) => Value::Number(Number::Integer(0, *kind)),
            Self::Single => Value::Number(Number::Single(0.0)),
            Self::Double => Value::double(0.0),
            Self::Decimal => Value::Number(Number::Decimal(Decimal::ZERO)),
            Self::Char => Value::Char('\0'),
            Self::Guid => Value::Guid(Guid::default()),
            _ => Value::Null,
        }
    }
}
