//! The aggregates as DataFusion functions, under the SQL names.
//!
//! A session that registers [`all`] and no window functions of these names computes a view's own SQL with the very code that the
//! engine runs, in plain, `FILTER`, `GROUP BY` and `OVER` positions and with any parallelism: an oracle. A value that cannot be
//! computed (overflow, a limit passed) is NULL there.
//!
//! - DataFusion keeps the names `first_value`, `last_value` and `nth_value` in `OVER` for its window functions, by the name of the
//!   aggregate it finds. Ours have other names, and these as aliases.
//! - The order of rows is that of an `ORDER BY` among the arguments where there is one, else that of the input. (Without either,
//!   as in `GROUP BY` over several partitions, order means nothing in SQL, nor here.)
//! - The optimiser's rule `single_distinct_aggregation_to_group_by` replaces `count(distinct x)` by a plain count over a `GROUP BY`,
//!   which knows no limit; a session meant as an oracle leaves it out.

mod accumulator;
mod grouped;
mod input;
mod sliding;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_datafusion_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};
use lockstep_model::codec::CodecError;

use super::{Call, Function, bind};
use accumulator::RowAccumulator;
use grouped::GroupedAccumulator;
use input::Bound;
use sliding::SlidingAccumulator;

/// All aggregates. `limit` bounds the states that grow with their events (`count(distinct)`, `array_agg`); without one, those are refused
/// when planned.
pub fn all(limit: Option<usize>) -> Vec<Arc<AggregateUDF>> {
    Function::all().map(|function| Arc::new(AggregateUDF::from(Udaf::new(function, limit)))).collect()
}

/// One function as DataFusion sees it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Udaf {
    function: Function,
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    limit: Option<usize>,
}

impl Udaf {
    fn new(function: Function, limit: Option<usize>) -> Self {
        let names = function.names();
        let name = match function {
            Function::FirstValue | Function::LastValue | Function::NthValue => names[names.len() - 1],
            _ => names[0],
        };
        let aliases = names.iter().filter(|&&alias| alias != name).map(|alias| alias.to_string()).collect();
        Udaf { function, name, aliases, signature: Signature::user_defined(Volatility::Immutable), limit }
    }

    /// The type of the value; arguments are coerced.
    fn result(&self, arguments: &[DataType]) -> Result<DataType, String> {
        let columns = &arguments[..self.function.columns(arguments.len())];
        self.function.return_type(columns)
    }

    fn bound(&self, args: &AccumulatorArgs<'_>) -> Result<Bound> {
        let columns = self.function.columns(args.exprs.len());
        let arg_types: Vec<DataType> = args.expr_fields[..columns].iter().map(|field| field.data_type().clone()).collect();
        let literals = args.exprs[columns..].iter().map(input::constant).collect::<Result<Vec<ScalarValue>>>()?;
        let aggregate = bind(&Call {
            name: self.function.name(),
            arg_types: &arg_types,
            literals: &literals,
            distinct: args.is_distinct,
            ignore_nulls: args.ignore_nulls,
            limit: self.limit,
        })
        .map_err(plan_error)?;
        Bound::new(aggregate, columns, self.function.is_ordered(), args)
    }
}

fn plan_error(message: String) -> DataFusionError {
    plan_datafusion_err!("{message}")
}

fn codec_error(error: CodecError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl AggregateUDFImpl for Udaf {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce(arguments).map_err(plan_error)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.result(arguments).map_err(plan_error)
    }

    fn is_nullable(&self) -> bool {
        // count(distinct) is NULL where its limit is passed.
        self.function != Function::ApproxDistinct
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        if self.function.is_zero_when_empty() { ScalarValue::new_zero(data_type) } else { ScalarValue::try_from(data_type) }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "state"), DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(RowAccumulator::new(self.bound(&args)?)))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let bound = self.bound(&args)?;
        if bound.aggregate.invertible() { Ok(Box::new(RowAccumulator::new(bound))) } else { Ok(Box::new(SlidingAccumulator::new(bound))) }
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(GroupedAccumulator::new(self.bound(&args)?)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        // Never a sort: the columns of an ORDER BY become part of the state. They are only passed to what says that it gains
        // by an order.
        if self.function.is_ordered() { AggregateOrderSensitivity::Beneficial } else { AggregateOrderSensitivity::Insensitive }
    }

    fn with_beneficial_ordering(self: Arc<Self>, _: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.function.is_ordered()
    }
}
