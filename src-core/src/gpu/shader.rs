//! Shader text: a WGSL template, the values for it, and the prelude that the loader prepends.
//!
//! Rendering needs no device, so that tests can validate and translate every variant for every kind of target.

use std::fmt;
use std::fmt::Write as _;

use super::Capabilities;

/// A WGSL template under `shaders/`.
#[derive(Debug)]
pub struct Shader {
    /// The file's name without its extension.
    pub name: &'static str,
    /// The file's text.
    pub source: &'static str,
}

/// The template `shaders/NAME.wgsl`, embedded in the program.
#[macro_export]
#[doc(hidden)]
macro_rules! shader {
    ($name:literal) => {
        $crate::gpu::Shader { name: $name, source: include_str!(concat!("../../../shaders/", $name, ".wgsl")) }
    };
}

/// A file of `shaders/shared/` with the path that `#include` names.
macro_rules! shared {
    ($file:literal) => {
        (concat!("shared/", $file), include_str!(concat!("../../../shaders/shared/", $file)))
    };
}

/// A value for a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// A number: a tile size, a count.
    Int(u32),
    /// A boolean.
    Flag(bool),
    /// A word: a type's name.
    Word(&'static str),
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Flag(value)
    }
}

impl From<&'static str> for Value {
    fn from(value: &'static str) -> Self {
        Value::Word(value)
    }
}

impl From<Value> for minijinja::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Int(number) => number.into(),
            Value::Flag(flag) => flag.into(),
            Value::Word(word) => word.into(),
        }
    }
}

/// The values that specialise a template. Every template also sees, of the [`Capabilities`]:
///
/// - `subgroup`: the subgroup size if it is fixed, else 0
/// - `subgroup_least`: the smallest subgroup size, 0 without subgroup operations
/// - `cpu`: whether barriers and workgroup memory are expensive
/// - `coarse_exp`: whether the driver's `exp` is too inaccurate
/// - `int64`: whether there are 64-bit integers
pub type Values = Vec<(&'static str, Value)>;

/// One specialisation of one entry point.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The template.
    pub shader: &'static Shader,
    /// The entry point.
    pub entry: &'static str,
    /// The values of the template.
    pub values: Values,
}

impl Variant {
    /// A key that is unique to this variant.
    pub fn key(&self) -> String {
        let mut key = format!("{}/{}", self.shader.name, self.entry);
        for (name, value) in &self.values {
            let _ = match value {
                Value::Int(number) => write!(key, " {name}={number}"),
                Value::Flag(flag) => write!(key, " {name}={flag}"),
                Value::Word(word) => write!(key, " {name}={word}"),
            };
        }
        key
    }

    /// The WGSL text for an adapter of these capabilities, with the prelude and includes.
    pub fn render(&self, capabilities: Capabilities) -> Result<String, minijinja::Error> {
        let mut environment = minijinja::Environment::new();
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        let values: std::collections::BTreeMap<&str, minijinja::Value> = self
            .values
            .iter()
            .map(|(name, value)| (*name, minijinja::Value::from(*value)))
            .chain([
                ("subgroup", capabilities.fixed_subgroup().unwrap_or(0).into()),
                ("subgroup_least", capabilities.subgroups.map_or(0, |sizes| sizes.least).into()),
                ("cpu", capabilities.cpu.into()),
                ("coarse_exp", capabilities.coarse_exp.into()),
                ("int64", capabilities.int64.into()),
            ])
            .collect();
        let prelude = environment.render_str(PRELUDE, &values)?;
        let body = environment.render_named_str(self.shader.name, &expand(self.shader.source)?, &values)?;
        Ok(format!("{prelude}\n{body}"))
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

/// Prepended to every template. Directives must come first in a module.
///
/// `flat`: grids of more than 65,535 workgroups are folded into y; this returns the index of a workgroup in the
/// one-dimensional grid.
const PRELUDE: &str = "{% if f16 is defined and f16 %}enable f16;{% endif %}
{% if matrices is defined and matrices %}enable wgpu_cooperative_matrix;{% endif %}

fn flat(workgroup: vec3<u32>, groups: vec3<u32>) -> u32 {
    return workgroup.y * groups.x + workgroup.x;
}
";

/// The files of `shaders/shared/`, which several shaders share, by the path that `#include` names.
const SHARED: &[(&str, &str)] = &[
    shared!("attention.wgsl"),
    shared!("attention_decode.wgsl"),
    shared!("cache.wgsl"),
    shared!("cursor.wgsl"),
    shared!("exp_low.wgsl"),
    shared!("matmul.wgsl"),
    shared!("matvec_finish.wgsl"),
    shared!("nan.wgsl"),
    shared!("narrow.wgsl"),
    shared!("rows.wgsl"),
    shared!("sample_group.wgsl"),
    shared!("sample_row.wgsl"),
    shared!("sample_survey.wgsl"),
    shared!("tanh.wgsl"),
    shared!("weights.wgsl"),
];

/// `source` with each line `#include "PATH"` replaced by that file of [`SHARED`], recursively. This happens before the
/// template is rendered, so that macros of an included file can be used.
fn expand(source: &str) -> Result<String, minijinja::Error> {
    let mut text = String::with_capacity(2 * source.len());
    for line in source.lines() {
        match line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"')) {
            None => text.push_str(line),
            Some(path) => {
                let unknown = || minijinja::Error::new(minijinja::ErrorKind::TemplateNotFound, format!("there is no shaders/{path}"));
                let (_, shared) = SHARED.iter().find(|(known, _)| *known == path).ok_or_else(unknown)?;
                text.push_str(&expand(shared)?);
            }
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &'static str) -> Result<String, minijinja::Error> {
        let shader = Box::leak(Box::new(Shader { name: "test", source }));
        Variant { shader, entry: "forward", values: vec![("format", "f32".into())] }.render(Capabilities::LEAST)
    }

    #[test]
    fn an_include_brings_functions_and_those_that_it_includes() {
        let text = render("#include \"shared/attention_decode.wgsl\"\nfn f() {}\n").unwrap();
        for part in ["struct Cursor", "fn exp_low", "fn unpack_weights", "fn f()"] {
            assert_eq!(text.matches(part).count(), 1, "{part}");
        }
        assert!(!text.contains("#include"));
    }

    #[test]
    fn an_unknown_include_is_an_error() {
        assert!(render("#include \"shared/nowhere.wgsl\"\n").unwrap_err().to_string().contains("shaders/shared/nowhere.wgsl"));
    }
}
