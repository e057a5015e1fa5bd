//! Paths to operations.

use crate::operation::{Method, Operation, Parameter};
use crate::ops::operations;
use std::sync::LazyLock;

/// Routes beside those of the table: what is a query there is also a path, as users of REST expect.
const ALSO: &[(&str, &str)] = &[("Get-VM", "/vms/{Name}"), ("Get-NestedVmStatus", "/vms/{Name}/nested")];

/// One way to one operation.
pub struct Route {
    pub method: Method,
    pub operation: &'static Operation,
    segments: Vec<Segment>,
}

enum Segment {
    Word(&'static str),
    Parameter(&'static Parameter),
}

/// What a path leads to.
pub enum Found {
    Route(&'static Route, Vec<(&'static Parameter, String)>),
    /// The path is known, with these methods.
    OtherMethods(Vec<&'static str>),
    Nothing,
}

static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let own = operations().map(|operation| Route::new(operation, operation.rest.route));
    let also = ALSO.iter().filter_map(|(cmdlet, path)| Some(Route::new(crate::ops::find(cmdlet)?, path)));
    own.chain(also).collect()
});

pub fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter()
}

impl Route {
    fn new(operation: &'static Operation, path: &'static str) -> Self {
        let segment = |text: &'static str| {
            let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match name.and_then(|name| operation.parameter(name)) {
                Some(parameter) => Segment::Parameter(parameter),
                None => Segment::Word(text),
            }
        };
        let segments = path.trim_matches('/').split('/').map(segment).collect();
        Self { method: operation.rest.method, operation, segments }
    }

    /// The parameters in the path.
    pub fn parameters(&self) -> impl Iterator<Item = &'static Parameter> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(parameter) => Some(*parameter),
            Segment::Word(_) => None,
        })
    }

    /// With names in braces; the same place has the same name in all routes.
    pub fn template(&self) -> String {
        let text = |segment: &Segment| match segment {
            Segment::Word(word) => format!("/{word}"),
            Segment::Parameter(parameter) => format!("/{{{}}}", name_in_path(parameter)),
        };
        self.segments.iter().map(text).collect()
    }

    fn accepts(&self, path: &[String]) -> Option<Vec<(&'static Parameter, String)>> {
        if self.segments.len() != path.len() {
            return None;
        }
        let mut values = Vec::new();
        for (segment, text) in self.segments.iter().zip(path) {
            match segment {
                Segment::Word(word) if word == text => (),
                Segment::Parameter(parameter) if !text.is_empty() => values.push((*parameter, text.clone())),
                _ => return None,
            }
        }
        Some(values)
    }
}

/// Of a VM's name the table has two spellings.
pub fn name_in_path(parameter: &Parameter) -> &'static str {
    if parameter.is_called("VMName") { "VMName" } else { parameter.name }
}

pub fn find(method: &str, path: &str) -> Found {
    let Some(segments) = path.strip_prefix('/').and_then(|rest| rest.split('/').map(decode).collect()) else {
        return Found::Nothing;
    };
    let segments: Vec<String> = segments;
    let mut methods = Vec::new();
    for route in routes() {
        if let Some(values) = route.accepts(&segments) {
            if route.method.name() == method {
                return Found::Route(route, values);
            }
            methods.push(route.method.name());
        }
    }
    methods.sort_unstable();
    methods.dedup();
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods) }
}

/// `%41` is `A`. None: no text.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(digits[0])? << 4 | digit(digits[1])?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cmdlet(method: &str, path: &str) -> Option<(&'static str, Vec<String>)> {
        match find(method, path) {
            Found::Route(route, values) => {
                Some((route.operation.cmdlet, values.into_iter().map(|(_, text)| text).collect()))
            }
            _ => None,
        }
    }

    #[test]
    fn a_path_leads_to_its_operation_with_its_values() {
        assert_eq!(cmdlet("GET", "/vms"), Some(("Get-VM", vec![])));
        assert_eq!(cmdlet("DELETE", "/vms/a%2Fb%20c"), Some(("Remove-VM", vec!["a/b c".into()])));
    }

    #[test]
    fn a_known_path_names_its_methods() {
        assert!(matches!(find("PUT", "/vms"), Found::OtherMethods(methods) if methods == ["GET", "POST"]));
    }

    #[test]
    fn what_is_no_path_leads_nowhere() {
        for path in ["", "/", "/vms/", "/vms/%zz", "/vms/%ff", "/vms/%4", "vms", "/VMS", "*"] {
            assert!(matches!(find("GET", path), Found::Nothing), "{path}");
        }
    }

    #[test]
    fn every_brace_of_the_table_is_a_parameter() {
        for route in routes() {
            for segment in &route.segments {
                assert!(
                    !matches!(segment, Segment::Word(word) if word.contains('{')),
                    "{}",
                    route.template()
                );
            }
        }
    }
}
