//! The tensors in the pickle of a `.pt` file: names, shapes, types, and where the elements are.
//!
//! Torch writes a tensor as a call to `_rebuild_tensor_v2` with a storage, an offset, a shape and strides. All of these
//! are checked against the length of the storage in the archive.

use super::dtype::TorchDtype;
use super::error::{PickleProblem, TensorProblem};
use super::pickle::{Global, Object, Pickle, Usage, Value};
use crate::files::shown::short;

/// The most axes of a shape.
const MOST_AXES: usize = 8;

const REBUILD: &str = "_rebuild_tensor_v2";
const REBUILD_PARAMETER: &str = "_rebuild_parameter";

const fn storage(name: &'static str) -> Global {
    Global { module: "torch", name, usage: Usage::Name }
}

/// The globals that a dict of tensors uses.
pub(super) const GLOBALS: &[Global] = &[
    Global { module: "collections", name: "OrderedDict", usage: Usage::Dict },
    Global { module: "torch._utils", name: REBUILD, usage: Usage::Function },
    Global { module: "torch._utils", name: REBUILD_PARAMETER, usage: Usage::Function },
    storage("FloatStorage"),
    storage("HalfStorage"),
    storage("BFloat16Storage"),
    storage("DoubleStorage"),
    storage("LongStorage"),
    storage("IntStorage"),
    storage("ShortStorage"),
    storage("CharStorage"),
    storage("ByteStorage"),
    storage("BoolStorage"),
];

/// A tensor of a `.pt` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorchTensor {
    /// Its key in the dict that was saved; empty for a tensor that was saved alone.
    pub name: String,
    /// Lengths of the axes, outermost first; no axes is a scalar.
    pub shape: Vec<usize>,
    /// The type of its elements in the file.
    pub dtype: TorchDtype,
}

/// Where a tensor's elements are, row-major and without gaps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The archive's entry.
    pub(super) entry: usize,
    /// The offset in the entry, and the number of bytes.
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// A rejection of the whole pickle, or of one tensor.
#[derive(Debug)]
pub(super) enum Refusal {
    Pickle(PickleProblem),
    Tensor { name: String, offset: Option<usize>, problem: TensorProblem },
}

/// The tensors of a pickle in the order of the file. `find` returns the index and length of an archive's entry.
pub(super) fn tensors(pickle: &Pickle, find: impl Fn(&str) -> Option<(usize, u64)>) -> Result<Vec<(TorchTensor, Place)>, Refusal> {
    let alone = [(Value::Text(""), pickle.root())];
    let named = match pickle.root() {
        Value::Object(index) => match pickle.object(index) {
            (_, Object::Dict { items, .. }) => items,
            (_, Object::Call { .. }) => &alone[..],
            _ => return Err(Refusal::Pickle(PickleProblem::NoTensors)),
        },
        _ => return Err(Refusal::Pickle(PickleProblem::NoTensors)),
    };
    let mut tensors = Vec::with_capacity(named.len());
    for &(name, value) in named {
        let Value::Text(name) = name else { return Err(Refusal::Pickle(PickleProblem::NoTensors)) };
        let refuse = |problem| Refusal::Tensor { name: short(name), offset: made_at(pickle, value), problem };
        let (shape, dtype, place) = tensor(pickle, value, &find).map_err(refuse)?;
        tensors.push((TorchTensor { name: name.to_owned(), shape, dtype }, place));
    }
    check_overlaps(&tensors)?;
    Ok(tensors)
}

fn made_at(pickle: &Pickle, value: Value) -> Option<usize> {
    match value {
        Value::Object(index) => Some(pickle.object(index).0),
        _ => None,
    }
}

/// The arguments of a call to the function `name`.
fn arguments<'p, 'a>(pickle: &'p Pickle<'a>, value: Value<'a>, name: &str) -> Option<&'p [Value<'a>]> {
    let Value::Object(index) = value else { return None };
    match pickle.object(index) {
        (_, Object::Call { global, arguments }) if global.name == name => Some(pickle.tuple(*arguments)),
        _ => None,
    }
}

type Described = (Vec<usize>, TorchDtype, Place);

fn tensor(pickle: &Pickle, value: Value, find: impl Fn(&str) -> Option<(usize, u64)>) -> Result<Described, TensorProblem> {
    // A parameter is a tensor and whether it is trained; hooks are functions, of which a file has none.
    let no_hooks = |value| pickle.dict(value).is_some_and(<[_]>::is_empty);
    let value = match arguments(pickle, value, REBUILD_PARAMETER) {
        Some(&[tensor, Value::Bool, hooks]) if no_hooks(hooks) => tensor,
        Some(_) => return Err(TensorProblem::Arguments("a tensor, a truth value and an empty dict")),
        None => value,
    };
    let needs = "a storage, an offset, a shape, strides, a truth value and an empty dict";
    let (storage, offset, shape, strides) = match arguments(pickle, value, REBUILD).ok_or(TensorProblem::NotATensor)? {
        &[storage, Value::Int(offset), Value::Tuple(shape), Value::Tuple(strides), Value::Bool, hooks] if no_hooks(hooks) => {
            (storage, offset, pickle.tuple(shape), pickle.tuple(strides))
        }
        _ => return Err(TensorProblem::Arguments(needs)),
    };
    let (entry, dtype, stored) = find_storage(pickle, storage, find)?;

    let shape = lengths(shape).ok_or(TensorProblem::Shape)?;
    let strides = lengths(strides).filter(|strides| strides.len() == shape.len()).ok_or(TensorProblem::Strides)?;
    let elements = shape.iter().try_fold(1u64, |product, &length| product.checked_mul(length)).ok_or(TensorProblem::Shape)?;

    // One past the last element that the shape reaches by the strides.
    let steps = shape.iter().zip(&strides).map(|(&length, &stride)| length.saturating_sub(1).checked_mul(stride));
    let last = steps.into_iter().try_fold(0u64, |sum, step| sum.checked_add(step?));
    let reach = if elements == 0 { Some(0) } else { last.and_then(|last| last.checked_add(1)) };
    let offset = u64::try_from(offset).ok().ok_or(TensorProblem::OutOfStorage(stored))?;
    reach.and_then(|reach| reach.checked_add(offset)).filter(|&end| end <= stored).ok_or(TensorProblem::OutOfStorage(stored))?;
    if !is_contiguous(&shape, &strides) {
        return Err(TensorProblem::View);
    }

    // No more elements than the storage has, so no product is larger than its bytes.
    let size = dtype.bytes() as u64;
    let place = Place { entry, start: offset * size, bytes: elements * size };
    let shape = shape.into_iter().map(usize::try_from).collect::<Result<_, _>>().map_err(|_| TensorProblem::Shape)?;
    Ok((shape, dtype, place))
}

/// A storage by what identifies it: its entry, the type and the number of its elements.
fn find_storage(
    pickle: &Pickle,
    value: Value,
    find: impl Fn(&str) -> Option<(usize, u64)>,
) -> Result<(usize, TorchDtype, u64), TensorProblem> {
    let wrong = || TensorProblem::Arguments("a storage by class, key, device and length");
    let Value::Object(index) = value else { return Err(wrong()) };
    let (_, Object::Persistent(Value::Tuple(parts))) = pickle.object(index) else { return Err(wrong()) };
    // The device of the tensor when it was saved does not matter here.
    let &[Value::Text("storage"), Value::Global(class), Value::Text(key), Value::Text(_device), Value::Int(elements)] =
        pickle.tuple(*parts)
    else {
        return Err(wrong());
    };
    let dtype = TorchDtype::of_storage(class.name).ok_or_else(wrong)?;
    let (entry, bytes) = find(&format!("data/{key}")).ok_or_else(|| TensorProblem::NoStorage(short(key)))?;
    match u64::try_from(elements) {
        Ok(count) if count.checked_mul(dtype.bytes() as u64) == Some(bytes) => Ok((entry, dtype, count)),
        _ => Err(TensorProblem::StorageLength { elements, dtype, bytes }),
    }
}

/// Lengths or strides: at most [`MOST_AXES`] non-negative integers.
fn lengths(values: &[Value]) -> Option<Vec<u64>> {
    if values.len() > MOST_AXES {
        return None;
    }
    let length = |value: &Value| match value {
        Value::Int(length) => u64::try_from(*length).ok(),
        _ => None,
    };
    values.iter().map(length).collect()
}

/// Whether elements are row-major and contiguous. The stride of an axis of length 1 is never used and may be anything.
fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1;
    shape.contains(&0)
        || shape.iter().zip(strides).rev().filter(|(length, _)| **length != 1).all(|(&length, &stride)| {
            let row = expected;
            expected *= length; // a factor of the number of elements
            stride == row
        })
}

/// Two names may refer to one tensor, as tied weights do; two tensors must not partly overlap.
fn check_overlaps(tensors: &[(TorchTensor, Place)]) -> Result<(), Refusal> {
    let mut places: Vec<_> = tensors.iter().filter(|(_, place)| place.bytes > 0).collect();
    places.sort_by_key(|(_, place)| (place.entry, place.start, place.bytes));
    for pair in places.windows(2) {
        let [(first, a), (second, b)] = pair else { continue };
        let same = (a.start, a.bytes, first.dtype) == (b.start, b.bytes, second.dtype);
        if a.entry == b.entry && b.start < a.start + a.bytes && !same {
            let problem = TensorProblem::Overlap(short(&first.name));
            return Err(Refusal::Tensor { name: short(&second.name), offset: None, problem });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The last axis varies fastest: the nth element in row-major order is the nth of the storage.
        #[test]
        fn contiguous_is_what_lies_row_by_row(axes in prop::collection::vec((0u64..4, 0u64..14), 0..4)) {
            let (shape, strides): (Vec<u64>, Vec<u64>) = axes.into_iter().unzip();
            let elements = shape.iter().product::<u64>();
            let row_major = (0..elements).all(|element| {
                let mut rest = element;
                let place: u64 = shape.iter().zip(&strides).rev().map(|(&length, &stride)| {
                    let index = rest % length;
                    rest /= length;
                    index * stride
                }).sum();
                place == element
            });
            prop_assert_eq!(is_contiguous(&shape, &strides), row_major);
        }
    }

    #[test]
    fn every_storage_that_may_be_named_has_a_type() {
        let storages = GLOBALS.iter().filter(|global| global.usage == Usage::Name);
        let types: Vec<_> = storages.map(|global| TorchDtype::of_storage(global.name).unwrap()).collect();
        assert_eq!(types.len(), 10);
        assert!(types.iter().enumerate().all(|(index, dtype)| !types[..index].contains(dtype)));
    }
}
