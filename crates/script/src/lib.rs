//! The PowerShell language: its grammar, its values, their types, evaluation, and the cmdlets that work on any objects.
//!
//! Knows the language specification 3.0 with what versions 5 and 7 added, .NET's types as far as scripts use them, and files and
//! programs of this system. Must never know what a virtual machine is: who has a subject brings its commands as a [`host::Module`]
//! and its reader as a [`host::Terminal`]. Start reading at [`parse`], [`syntax`] and [`interpret`].

#![forbid(unsafe_code)]

pub mod bind;
pub mod characters;
pub mod cmdlet;
pub mod error;
pub mod format;
pub mod host;
pub mod interpret;
pub mod parse;
pub mod scope;
pub mod source;
pub mod syntax;
pub mod types;
pub mod value;

pub use error::{ErrorRecord, Flow, Outcome};
pub use interpret::Interpreter;
pub use value::Value;
