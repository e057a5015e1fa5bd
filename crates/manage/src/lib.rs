//! Many virtual machines: what is kept of them, what may be done to them, and the processes that run them.
//!
//! Knows the store, the rules, the worker processes, and the table of operations that every surface (command line,
//! shell, REST) reads. Must never know how a surface looks, how a machine is put together, or what an engine does.
//! Start reading at [`operation`] and [`ops`].

#![forbid(unsafe_code)]

mod base64;
pub mod capture;
pub mod folder;
mod fuse;
pub mod host;
pub mod host_network;
pub mod host_start;
pub mod keys;
pub mod mount;
pub mod operation;
pub mod ops;
pub mod place;
pub mod render;
pub mod rules;
#[cfg(test)]
mod scratch;
pub mod seed;
pub mod select;
pub mod server;
pub mod state;
pub mod store;
pub mod value;
pub mod view;
pub mod worker;

pub use host::Host;
pub use ireko_storage::guid::{self, Guid};
pub use operation::{
    Answer, Arguments, Category, Cli, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints,
    Question, Rest, Surface, Type, Verb, View, invoke,
};
pub use ops::{command, find, operations};
pub use value::{Kind, Record, Value};
