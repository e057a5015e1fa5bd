//! What went wrong with one operation on one object, as PowerShell's error records have it.

use std::fmt;

/// The category of an error record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    InvalidArgument,
    InvalidOperation,
    ObjectNotFound,
    PermissionDenied,
    ResourceUnavailable,
    NotImplemented,
    OperationTimeout,
    OperationStopped,
    NotSpecified,
}

/// One error: a sentence for people, an id and a category for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    pub category: Category,
    /// The first part of FullyQualifiedErrorId.
    pub id: &'static str,
    /// What it was about, where there is something.
    pub target: Option<String>,
    /// What was named is not there. Hyper-V calls that an invalid argument; REST has a status for it.
    pub absent: bool,
}

impl Failure {
    pub fn new(category: Category, id: &'static str, message: impl Into<String>) -> Self {
        Self { message: message.into(), category, id, target: None, absent: false }
    }
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Category::InvalidArgument, "InvalidParameter", message)
    }
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Category::InvalidOperation, "InvalidState", message)
    }
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Category::NotSpecified, "OperationFailed", message)
    }
    pub fn later(message: impl Into<String>) -> Self {
        Self::new(Category::NotImplemented, "NotSupported", message)
    }
    pub fn about(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    pub fn absent(mut self) -> Self {
        self.absent = true;
        self
    }

    /// `InvalidParameter,Microsoft.HyperV.PowerShell.Commands.GetVM`, as scripts test for.
    pub fn qualified_id(&self, cmdlet: &str) -> String {
        format!("{},Microsoft.HyperV.PowerShell.Commands.{}", self.id, cmdlet.replace('-', ""))
    }

    /// `VirtualizationException` and the like: the third part of CategoryInfo.
    pub fn exception(&self) -> &'static str {
        match self.category {
            Category::InvalidArgument => "VirtualizationException",
            Category::NotImplemented => "VirtualizationOperationNotSupportedException",
            _ => "VirtualizationException",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Self {
        use crate::store::StoreError;
        let category = match &error {
            StoreError::Denied { .. } => Category::PermissionDenied,
            StoreError::Gone(_) => Category::ObjectNotFound,
            StoreError::TooLarge { .. } => Category::InvalidArgument,
            _ => Category::ResourceUnavailable,
        };
        Self::new(category, "OperationFailed", error.to_string())
    }
}
