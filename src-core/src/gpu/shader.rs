//! Shader text: a WGSL template, the values that fill it in, and the prelude that the loader puts before it.
//!
//! Rendering needs no device, so that tests can validate and translate every variant for every kind of target.

use std::fmt;
use std::fmt::Write as _;

use super::grid;

/// A WGSL template under `shaders/`.
#[derive(Debug)]
pub struct Shader {
    /// The file's name without its ending.
    pub name: &'static str,
    /// The file's text.
    pub source: &'static str,
}

/// The template `shaders/NAME.wgsl`, built into the program.
#[macro_export]
#[doc(hidden)]
macro_rules! shader {
    ($name:literal) => {
        $crate::gpu::Shader { name: $name, source: include_str!(concat!("../../../shaders/", $name, ".wgsl")) }
    };
}

/// What a template is filled in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Lanes of a subgroup where every subgroup on the adapter has the same number, else 0: then kernels must not use
    /// subgroup operations.
    pub subgroup: u32,
    /// Whether the adapter runs on the CPU: there, barriers and shared memory are dear, and big register tiles win.
    pub cpu: bool,
}

impl Target {
    /// The grid of a kernel that works on `rows` rows with the prelude's `row_*` functions.
    pub fn rows(self, rows: usize) -> [u32; 3] {
        grid(if self.subgroup > 0 { rows } else { rows.div_ceil(SOLO_LANES as usize) })
    }
}

/// A value for a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// A number: a tile size, a count.
    Int(u32),
    /// A switch.
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

/// The values that specialise a template. Every template also sees `subgroup` and `cpu` of the [`Target`].
pub type Values = Vec<(&'static str, Value)>;

/// One specialisation of one entry point.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The template.
    pub shader: &'static Shader,
    /// The entry point.
    pub entry: &'static str,
    /// What fills the template in.
    pub values: Values,
}

impl Variant {
    /// A key that two variants share only if they are the same.
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

    /// The WGSL text for `target`, prelude included.
    pub fn render(&self, target: Target) -> Result<String, minijinja::Error> {
        let mut environment = minijinja::Environment::new();
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        let values: std::collections::BTreeMap<&str, minijinja::Value> = self
            .values
            .iter()
            .map(|(name, value)| (*name, minijinja::Value::from(*value)))
            .chain([("subgroup", target.subgroup.into()), ("cpu", target.cpu.into())])
            .collect();
        let prelude = environment.render_str(PRELUDE, &values)?;
        let body = environment.render_named_str(self.shader.name, self.shader.source, &values)?;
        Ok(format!("{prelude}\n{body}"))
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

/// Lanes of a workgroup in which every invocation works alone.
pub(super) const SOLO_LANES: u32 = 64;

/// Put before every template. Directives must come first in a module.
///
/// `flat`: shapes past 65,535 workgroups are folded into y, so a kernel of a one-dimensional grid asks for its number.
///
/// `row_*`: kernels that reduce over rows run one subgroup a row where the subgroup's size is fixed, and one invocation
/// a row elsewhere. Written with `ROW_LANES` as the stride, `row_lane` as the start and `row_sum` at the end, one text
/// serves both. They are dispatched by `Target::rows`.
const PRELUDE: &str = "{% if f16 is defined and f16 %}enable f16;{% endif %}

fn flat(workgroup: vec3<u32>, groups: vec3<u32>) -> u32 {
    return workgroup.y * groups.x + workgroup.x;
}
{% if subgroup > 0 %}
const ROW_LANES = {{ subgroup }}u;
const ROW_WORKGROUP = {{ subgroup }}u;
fn row_index(workgroup: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 { return flat(workgroup, groups); }
fn row_lane(local: u32) -> u32 { return local; }
fn row_sum(value: f32) -> f32 { return subgroupAdd(value); }
fn row_max(value: f32) -> f32 { return subgroupMax(value); }
{% else %}
const ROW_LANES = 1u;
const ROW_WORKGROUP = 64u;
fn row_index(workgroup: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 { return flat(workgroup, groups) * 64u + local; }
fn row_lane(local: u32) -> u32 { return 0u; }
fn row_sum(value: f32) -> f32 { return value; }
fn row_max(value: f32) -> f32 { return value; }
{% endif %}
";
