//! What a shader declares about its bindings.
//!
//! Buffers are untyped: no driver reports an error if a tensor of 16-bit floats is bound where a shader reads 32-bit ones, and
//! every number in it is wrong. So the recorder compares each tensor with the shader's declaration.

use std::collections::BTreeMap;

use naga::{AddressSpace, Handle, Module, Scalar, ScalarKind, Type, TypeInner};

use super::DType;

/// The element type of every storage buffer that `text` declares, by binding number. An array of 64-bit integers has none:
/// it reads two words at once, of whatever type.
///
/// # Errors
/// If the text does not parse, or a buffer has an element type that tensors do not have.
pub(super) fn elements(text: &str) -> Result<BTreeMap<u32, DType>, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
    let mut elements = BTreeMap::new();
    for (_, variable) in module.global_variables.iter() {
        let (AddressSpace::Storage { .. }, Some(binding)) = (variable.space, variable.binding) else { continue };
        if reads_pairs(&module, variable.ty) {
            continue;
        }
        let name = variable.name.as_deref().unwrap_or("a buffer");
        let dtype = element(&module, variable.ty).ok_or_else(|| format!("no tensor has the element type of {name}"))?;
        if elements.insert(binding.binding, dtype).is_some_and(|other| other != dtype) {
            return Err(format!("binding {} is declared with two element types", binding.binding));
        }
    }
    Ok(elements)
}

fn reads_pairs(module: &Module, ty: Handle<Type>) -> bool {
    let TypeInner::Array { base, .. } = module.types[ty].inner else { return false };
    module.types[base].inner == TypeInner::Scalar(Scalar::U64)
}

/// The element type of a tensor of `ty`. A structure of different types counts as words: the bits of its fields, in order.
fn element(module: &Module, ty: Handle<Type>) -> Option<DType> {
    match &module.types[ty].inner {
        TypeInner::Array { base, .. } => element(module, *base),
        TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. } | TypeInner::Matrix { scalar, .. } | TypeInner::Atomic(scalar) => {
            of_scalar(*scalar)
        }
        TypeInner::Struct { members, .. } => {
            let types: Option<Vec<DType>> = members.iter().map(|member| element(module, member.ty)).collect();
            let types = types?;
            let first = *types.first()?;
            Some(if types.iter().all(|&dtype| dtype == first) { first } else { DType::U32 })
        }
        _ => None,
    }
}

fn of_scalar(scalar: Scalar) -> Option<DType> {
    match (scalar.kind, scalar.width) {
        (ScalarKind::Float, 4) => Some(DType::F32),
        (ScalarKind::Float, 2) => Some(DType::F16),
        (ScalarKind::Sint, 4) => Some(DType::I32),
        (ScalarKind::Uint, 4) => Some(DType::U32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_those_of_scalars_vectors_and_structures() {
        let text = "enable f16;
            struct Cursor { position: u32, count: u32 }
            struct Draw { temperature: f32, top_k: u32 }
            @group(0) @binding(0) var<uniform> shape: vec4<u32>;
            @group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
            @group(0) @binding(2) var<storage, read> h: array<vec4<f16>>;
            @group(0) @binding(3) var<storage, read> ids: array<i32>;
            @group(0) @binding(4) var<storage, read_write> counts: array<atomic<u32>>;
            @group(0) @binding(5) var<storage, read> cursors: array<Cursor>;
            @group(0) @binding(6) var<storage, read> draws: array<Draw>;
            @group(0) @binding(7) var<storage, read> pairs: array<u64>;";
        let want = [(1, DType::F32), (2, DType::F16), (3, DType::I32), (4, DType::U32), (5, DType::U32), (6, DType::U32)];
        assert_eq!(elements(text), Ok(want.into()));
    }

    #[test]
    fn what_no_tensor_holds_is_refused() {
        let twice = "@group(0) @binding(1) var<storage, read> x: array<f32>;
            @group(0) @binding(1) var<storage, read> y: array<u32>;";
        assert!(elements(twice).unwrap_err().contains("two element types"));
        assert!(elements("@group(0) @binding(1) var<storage, read> x: array<f64>;").unwrap_err().contains("no tensor"));
        assert!(elements("this is no WGSL").is_err());
    }
}
