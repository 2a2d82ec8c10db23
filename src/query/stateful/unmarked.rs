//! A value as it is, without what is marked on it: where Spark takes an expression for another than the column.

use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `expr`, which carries no event time and is no window any more.
pub(in crate::query) fn unmarked(expr: Expr) -> Expr {
    ScalarUDF::from(Unmarked::default()).call(vec![expr])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Unmarked {
    signature: Signature,
}

impl Default for Unmarked {
    fn default() -> Self {
        Unmarked { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Unmarked {
    fn name(&self) -> &str {
        "unmarked"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [data_type] => Ok(data_type.clone()),
            _ => plan_err!("unmarked() takes one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(value) => Ok(value),
            None => plan_err!("unmarked() takes one value"),
        }
    }
}
