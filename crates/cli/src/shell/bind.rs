//! Which value goes to which parameter: names, prefixes, positions, sets, and what the pipeline gives.

use super::fault::Fault;
use super::item::Item;
use ireko_manage::operation::parameter::{one_of, switch, text};
use ireko_manage::{Kind, Operation, Parameter, Pipeline, Type, Value};

/// One argument as it stands on the line.
#[derive(Clone, Debug)]
pub enum Given {
    Named { name: String, value: Option<Item>, typed: String },
    Value(Item),
}

/// What a cmdlet takes.
pub struct Signature {
    pub cmdlet: &'static str,
    /// Its own parameters.
    pub own: Vec<&'static Parameter>,
    /// Those that every cmdlet has; a prefix that means one of its own never means these.
    pub ambient: Vec<&'static Parameter>,
    /// What is left over by position is the first parameter's.
    pub rest: bool,
}

/// What the arguments are.
#[derive(Default)]
pub struct Bound {
    pub values: Vec<(&'static Parameter, Item)>,
    /// `-?`
    pub help: bool,
}

const ACTIONS: &[&str] = &["Continue", "Ignore", "Inquire", "SilentlyContinue", "Stop", "Suspend"];

/// What every cmdlet has.
pub static AMBIENT: [Parameter; 12] = [
    switch("Verbose", "Accepted.").alias(&["vb"]),
    switch("Debug", "Accepted.").alias(&["db"]),
    one_of("ErrorAction", ACTIONS, "What is done with errors that do not end the statement.").alias(&["ea"]),
    one_of("WarningAction", ACTIONS, "Whether warnings are shown.").alias(&["wa"]),
    one_of("InformationAction", ACTIONS, "Accepted.").alias(&["infa"]),
    text("ErrorVariable", "The variable that gets the errors.").alias(&["ev"]),
    text("WarningVariable", "The variable that gets the warnings.").alias(&["wv"]),
    text("InformationVariable", "Accepted.").alias(&["iv"]),
    text("OutVariable", "The variable that gets the output.").alias(&["ov"]),
    text("OutBuffer", "Accepted.").alias(&["ob"]),
    text("PipelineVariable", "Accepted; use $_ in ForEach-Object.").alias(&["pv"]),
    one_of("ProgressAction", ACTIONS, "Accepted.").alias(&["proga"]),
];

/// What Hyper-V's cmdlets have for other hosts and for jobs.
pub static REMOTE: [Parameter; 4] = [
    text("ComputerName", "Only this host: localhost or a dot.").many(),
    text("CimSession", "Not here: use this host's own shell.").many(),
    text("Credential", "Not here: you are who you are logged in as."),
    switch("AsJob", "There are no jobs: the cmdlet runs to its end, and says so."),
];

impl Signature {
    /// Under a name that the operation has.
    pub fn called(operation: &'static Operation, name: &str) -> Self {
        Self { cmdlet: operation.called(name), ..Self::of(operation) }
    }

    pub fn of(operation: &'static Operation) -> Self {
        let risk = |parameter: &&'static Parameter| matches!(parameter.name, "WhatIf" | "Confirm");
        let (risk, mut own): (Vec<_>, Vec<_>) = operation.all_parameters().partition(risk);
        own.extend(REMOTE.iter().filter(|remote| operation.parameter(remote.name).is_none()));
        Self {
            cmdlet: operation.cmdlet,
            own,
            ambient: risk.into_iter().chain(&AMBIENT).collect(),
            rest: false,
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &'static Parameter> + '_ {
        self.own.iter().chain(&self.ambient).copied()
    }

    /// The parameter that a name or the beginning of one means.
    fn find(&self, name: &str) -> Result<&'static Parameter, Fault> {
        if let Some(exact) = self.all().find(|parameter| parameter.is_called(name)) {
            return Ok(exact);
        }
        let found: Vec<_> = self.all().filter(|parameter| parameter.starts_with(name)).collect();
        let own: Vec<_> = self.own.iter().filter(|parameter| parameter.starts_with(name)).collect();
        match (found.as_slice(), own.as_slice()) {
            ([], _) => Err(self.refuse(
                "NamedParameterNotFound",
                format!("A parameter cannot be found that matches parameter name '{name}'."),
            )),
            ([one], _) => Ok(one),
            (_, [one]) => Ok(one),
            (several, _) => {
                let names: String = several.iter().map(|parameter| format!(" -{}", parameter.name)).collect();
                Err(self.refuse(
                    "AmbiguousParameter",
                    format!(
                        "Parameter cannot be processed because the parameter name '{name}' is ambiguous. \
                         Possible matches include:{names}."
                    ),
                ))
            }
        }
    }

    pub fn refuse(&self, id: &str, message: impl Into<String>) -> Fault {
        Fault {
            category: "InvalidArgument".into(),
            activity: self.cmdlet,
            exception: "ParameterBindingException",
            id: format!("{id},{}", class(self.cmdlet)),
            ..Fault::runtime(id, message)
        }
    }

    /// What is given on the line.
    pub fn bind(&self, given: Vec<Given>) -> Result<Bound, Fault> {
        let mut bound = Bound::default();
        let mut positional = Vec::new();
        let mut given = given.into_iter().peekable();
        while let Some(one) = given.next() {
            let (name, value) = match one {
                Given::Value(item) => {
                    positional.push(item);
                    continue;
                }
                Given::Named { name, .. } if name == "?" => {
                    bound.help = true;
                    continue;
                }
                Given::Named { name, value, .. } => (name, value),
            };
            let parameter = self.find(&name)?;
            let value = match (value, parameter.kind) {
                (Some(value), _) => value,
                (None, Type::Switch) => true.into(),
                (None, _) => match given.next_if(|next| matches!(next, Given::Value(_))) {
                    Some(Given::Value(item)) => item,
                    _ => return Err(self.missing_argument(parameter)),
                },
            };
            if bound.has(parameter) {
                return Err(self.refuse(
                    "ParameterAlreadyBound",
                    format!(
                        "Cannot bind parameter because parameter '{}' is specified more than once. To provide multiple \
                         values to parameters that can accept multiple values, use the array syntax. For example, \
                         \"-parameter value1,value2,value3\".",
                        parameter.name
                    ),
                ));
            }
            bound.values.push((parameter, value));
        }
        self.check_sets(&bound)?;
        for item in positional {
            self.bind_position(&mut bound, item)?;
        }
        Ok(bound)
    }

    fn missing_argument(&self, parameter: &Parameter) -> Fault {
        let many = if parameter.many { "[]" } else { "" };
        self.refuse(
            "MissingArgument",
            format!(
                "Missing an argument for parameter '{}'. Specify a parameter of type '{}{many}' and try again.",
                parameter.name,
                parameter.type_name()
            ),
        )
    }

    fn check_sets(&self, bound: &Bound) -> Result<(), Fault> {
        let mut sets: Vec<&str> = bound.sets().collect();
        sets.dedup();
        if sets.len() <= 1 {
            return Ok(());
        }
        Err(self.refuse(
            "AmbiguousParameterSet",
            "Parameter set cannot be resolved using the specified named parameters.",
        ))
    }

    /// To the free parameter with the lowest position, of a set that is still possible, that takes such a thing.
    fn bind_position(&self, bound: &mut Bound, item: Item) -> Result<(), Fault> {
        let mut free: Vec<&'static Parameter> =
            self.own.iter().copied().filter(|p| p.position.is_some() && bound.allows(p)).collect();
        free.sort_by_key(|parameter| parameter.position);
        let lowest = free.first().and_then(|parameter| parameter.position);
        let mut candidates = free.iter().filter(|parameter| parameter.position == lowest);
        let chosen = match candidates.clone().find(|parameter| takes_object(parameter, &item)) {
            Some(object) => Some(object),
            None => candidates.find(|parameter| !is_record_parameter(parameter)),
        };
        match chosen {
            Some(parameter) => {
                bound.values.push((parameter, item));
                Ok(())
            }
            None if self.rest => {
                let first = bound.values.iter_mut().find(|(parameter, _)| parameter.position == Some(0));
                if let Some((_, all)) = first {
                    let before = std::mem::replace(all, super::item::NULL);
                    *all = Item::List(before.elements().into_iter().chain([item]).collect());
                }
                Ok(())
            }
            None => Err(self.refuse(
                "PositionalParameterNotFound",
                format!("A positional parameter cannot be found that accepts argument '{}'.", item.text()),
            )),
        }
    }

    /// What an object from the pipeline gives to the parameters that are still free; nothing is an error.
    pub fn bind_object(&self, bound: &Bound, item: &Item) -> Result<Vec<(&'static Parameter, Item)>, Fault> {
        let mut more = Bound { values: bound.values.clone(), help: false };
        let by_value =
            |p: &Parameter| matches!(p.pipeline, Pipeline::ByValue | Pipeline::ByValueOrPropertyName);
        let by_name =
            |p: &Parameter| matches!(p.pipeline, Pipeline::ByPropertyName | Pipeline::ByValueOrPropertyName);
        let from = more.values.len();
        let object = self.own.iter().find(|p| by_value(p) && more.allows(p) && takes_object(p, item));
        if let Some(parameter) = object {
            more.values.push((parameter, item.clone()));
        }
        if has_properties(item) {
            // Names of VMs come by name as well as by value: what has no VM's name has no other use.
            for parameter in self.own.iter().filter(|p| by_name(p) || (by_value(p) && p.is_called("VMName")))
            {
                if let Some(value) = property(parameter, item).filter(|_| more.allows(parameter)) {
                    more.values.push((parameter, value));
                }
            }
        } else if object.is_none() && !item.is_null() {
            let value = self.own.iter().find(|p| by_value(p) && more.allows(p) && !is_record_parameter(p));
            more.values.extend(value.map(|parameter| (*parameter, item.clone())));
        }
        let found = more.values.split_off(from);
        if found.is_empty() { Err(self.not_bound(item)) } else { Ok(found) }
    }

    fn not_bound(&self, item: &Item) -> Fault {
        Fault {
            target: Some(Box::new((item.cell(), item.type_name()))),
            ..self.refuse(
                "InputObjectNotBound",
                "The input object cannot be bound to any parameters for the command either because the command does \
                 not take pipeline input or the input and its properties do not match any of the parameters that take \
                 pipeline input.",
            )
        }
    }
}

impl Bound {
    pub fn has(&self, parameter: &Parameter) -> bool {
        self.values.iter().any(|(own, _)| std::ptr::eq(*own, parameter) || own.name == parameter.name)
    }

    fn sets(&self) -> impl Iterator<Item = &'static str> {
        self.values.iter().map(|(parameter, _)| parameter.set).filter(|set| !set.is_empty())
    }

    /// Whether it is free and its set goes with what is bound.
    fn allows(&self, parameter: &Parameter) -> bool {
        !self.has(parameter) && (parameter.set.is_empty() || self.sets().all(|set| set == parameter.set))
    }

    pub fn item(&self, name: &str) -> Option<&Item> {
        self.values.iter().find(|(parameter, _)| parameter.name == name).map(|(_, item)| item)
    }
    pub fn text(&self, name: &str) -> Option<String> {
        self.item(name).filter(|item| !item.is_null()).map(Item::text)
    }
    pub fn switch(&self, name: &str) -> bool {
        self.item(name).is_some_and(Item::is_true)
    }
    pub fn items(&self, name: &str) -> Vec<Item> {
        self.item(name).cloned().map(Item::elements).unwrap_or_default()
    }
}

/// Whether it takes records of one kind only.
fn is_record_parameter(parameter: &Parameter) -> bool {
    matches!(parameter.kind, Type::Object(kind) if kind != Kind::Custom)
}

fn takes_object(parameter: &Parameter, item: &Item) -> bool {
    let Type::Object(kind) = parameter.kind else { return false };
    let fits = |item: &Item| item.record().is_some_and(|record| record.kind == kind);
    match item {
        Item::List(items) => parameter.many && !items.is_empty() && items.iter().all(fits),
        one => fits(one),
    }
}

fn has_properties(item: &Item) -> bool {
    matches!(item, Item::Map(_)) || item.record().is_some()
}

/// A part of a VM has the VM's name in VMName and its own in Name, so VMName comes first where both are meant.
fn property(parameter: &Parameter, item: &Item) -> Option<Item> {
    let own = item.names();
    let has = |name: &&str| own.iter().any(|known| known.eq_ignore_ascii_case(name));
    let mut names: Vec<&str> = parameter.names().collect();
    names.sort_by_key(|name| !name.eq_ignore_ascii_case("VMName"));
    let name = names.into_iter().find(has)?;
    let value = Some(item.member(name)).filter(|value| !value.is_null())?;
    parameter.convert(typed_value(parameter, &value)).is_ok().then_some(value)
}

/// The class behind a cmdlet, for error ids.
fn class(cmdlet: &str) -> String {
    match ireko_manage::find(cmdlet) {
        Some(_) => format!("Microsoft.HyperV.PowerShell.Commands.{}", cmdlet.replace('-', "")),
        None => super::fault::qualified("", cmdlet).trim_start_matches(',').to_owned(),
    }
}

/// The value for an operation: a number that is meant as text is what was typed.
pub fn typed_value(parameter: &Parameter, item: &Item) -> Value {
    let as_text = matches!(parameter.kind, Type::Text | Type::Path | Type::Guid | Type::Enum(_));
    match item {
        Item::Written(_, typed) if as_text => Value::text(typed.as_ref()),
        Item::List(items) => Value::List(items.iter().map(|item| typed_value(parameter, item)).collect()),
        other => other.value(),
    }
}
