//! .NET's types as far as scripts use them: names, conversions, members, formats.

mod address;
mod convert;
mod date;
mod date_format;
mod date_parse;
mod format;
mod guid;
mod methods;
mod name;
mod number_format;
mod pattern;
mod span;
mod statics;
mod text;
mod text_methods;
mod time_zone;
mod version;

pub(crate) use convert::number;
pub use convert::{convert, convert_or_none, is_instance};
pub use date::{DateKind, DateTime};
pub use date_format::format_date;
pub use date_parse::{parse_date, parse_exact};
pub use format::{composite, formatted};
pub use guid::Guid;
pub use methods::{entry, invoke_plain, plain_member, type_of};
pub use name::{Type, exception_is, exception_name, lookup};
pub use pattern::{Found, Pattern};
pub use span::TimeSpan;
pub use statics::{StaticCall, bytes, static_member, to_bytes, version};
pub use text::{cell, long_date, short_type_name, text, type_name};
pub(crate) use text_methods::order as text_order;
pub use version::Version;
