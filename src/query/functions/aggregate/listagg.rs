//! `listagg`: a group's texts, one behind the other.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::EmitTo;

use super::bag::Bag;
use super::groups::Groups;
use super::rows::Rows;
use super::{OfNone, Shape, aggregate};
use crate::query::coerce::types::{Want, castable, list_of, mismatch, refused};
use crate::query::functions::compare::comparator;
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Types};

/// The aggregate of texts.
pub(crate) const ENTRIES: &[Entry] = &[aggregate!(
    "listagg" | "string_agg",
    {
        types: Types::By(bind),
        state: |args, returns| {
            let orders = args.get(2).map(|order| ("orders", list_of(order.clone())));
            std::iter::once(("values", list_of(returns.clone()))).chain(orders).collect()
        },
        make: make,
        of_none: OfNone::Null,
        unbounded: true,
    },
    ["aggregates/listagg_ordered", "generated/collect"]
)];

/// The value and what stands between two; behind WITHIN GROUP what they are ordered by, whether descending, and whether
/// nulls come first.
fn bind(bind: &Bind) -> Result<Bound> {
    if !matches!(bind.types.len(), 1 | 2 | 5) {
        return Err(refused("WRONG_NUM_ARGS", format!("{} takes 1 or 2 arguments", bind.name)));
    }
    let value = castable(bind, &bind.types[0], Want::TextOrBytes)?;
    let mut args = vec![value.clone()];
    if let Some(delimiter) = bind.types.get(1) {
        if bind.strict && bind.literals[1].is_none() {
            return Err(refused(
                "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT",
                format!("what {} puts between two values is a literal", bind.name),
            ));
        }
        if *delimiter != value && *delimiter != DataType::Null {
            return Err(mismatch(bind, "what stands between two values has their type"));
        }
        args.push(value.clone());
    }
    args.extend(bind.types.iter().skip(2).cloned());
    Ok(Bound::new(args, value))
}

fn make(shape: &Shape) -> Result<Box<dyn Groups>> {
    let is_set = |at: usize| matches!(shape.literals.get(at), Some(Some(ScalarValue::Boolean(Some(true)))));
    let delimiter = match shape.literals.get(1) {
        Some(Some(ScalarValue::Utf8(Some(text)))) => text.as_bytes().to_vec(),
        Some(Some(ScalarValue::Binary(Some(bytes)))) => bytes.clone(),
        _ => Vec::new(),
    };
    let ordered = shape.args.len() == 5;
    let mut kinds = vec![shape.returns.clone()];
    kinds.extend(shape.args.get(2).cloned());
    Ok(Box::new(Joined {
        bag: Bag::new(kinds),
        delimiter,
        order: ordered.then(|| Order { descending: is_set(3), nulls_first: is_set(4) }),
        returns: shape.returns.clone(),
    }))
}

#[derive(Debug, Clone, Copy)]
struct Order {
    descending: bool,
    nulls_first: bool,
}

struct Joined {
    /// The values, and what they are ordered by.
    bag: Bag,
    delimiter: Vec<u8>,
    order: Option<Order>,
    returns: DataType,
}

impl Groups for Joined {
    fn grow(&mut self, groups: usize) {
        self.bag.grow(groups);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        let mut columns = vec![Arc::clone(&args[0])];
        columns.extend(args.get(2).cloned());
        self.bag.push(&columns, &Rows::new(groups, &args[..1], filter))
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        self.bag.push_lists(states, groups)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.bag.take(emit)?.lists()
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let rows = self.bag.take(emit)?;
        let values = cast(&rows.columns[0], &DataType::Binary)?;
        let values = values.as_binary::<i32>();
        let compared = match (self.order, rows.columns.get(1)) {
            (Some(order), Some(by)) => Some((order, by, comparator(by, by)?)),
            _ => None,
        };
        let joined = |bounds: &[usize]| {
            let mut places: Vec<usize> = (bounds[0]..bounds[1]).collect();
            if let Some((order, by, compare)) = &compared {
                places.sort_by(|a, b| match (by.is_null(*a), by.is_null(*b)) {
                    (true, true) => Ordering::Equal,
                    (true, false) if order.nulls_first => Ordering::Less,
                    (true, false) => Ordering::Greater,
                    (false, true) if order.nulls_first => Ordering::Greater,
                    (false, true) => Ordering::Less,
                    _ if order.descending => compare(*b, *a),
                    _ => compare(*a, *b),
                });
            }
            let parts: Vec<&[u8]> = places.iter().map(|place| values.value(*place)).collect();
            (!parts.is_empty()).then(|| parts.join(self.delimiter.as_slice()))
        };
        let joined: ArrayRef = Arc::new(rows.starts.windows(2).map(joined).collect::<BinaryArray>());
        Ok(cast(&joined, &self.returns)?)
    }

    fn size(&self) -> usize {
        self.bag.size() + self.delimiter.capacity()
    }
}
