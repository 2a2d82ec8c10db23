//! A part of a query that keeps nothing between batches: an optimised physical plan over slots, run again and again.
//!
//! What DataFusion keeps inside a plan is renewed here when it must be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use futures::StreamExt;
use futures::executor::block_on;

use super::outline::outline;
use super::session::Session;
use super::slot::{Inputs, Of, Relation, SlotExec};
use super::stateful::observed::Observed;
use super::{concat, recordless, result_size};

/// Executions after which a plan with hashed tables is renewed: each leaves a few kB of metrics in it.
const EXECUTIONS_MAX: usize = 1000;

/// A planned part.
#[derive(Debug)]
pub(super) struct Fragment {
    plan: Arc<dyn ExecutionPlan>,
    /// The columns of each relation that the plan reads, by the relation's place.
    used: Vec<Arc<[usize]>>,
    /// By place, whether the plan reads the relation.
    reads: Vec<bool>,
    /// Whether state of the plan lives on from batch to batch: a hashed table.
    keeps_tables: bool,
    kept: Option<FragmentRun>,
    /// The versions of the tables that `kept` has hashed.
    versions: Vec<String>,
}

/// A plan that can be executed: by several lanes at once, and over several batches.
#[derive(Debug, Clone)]
pub(super) struct FragmentRun {
    plan: Arc<dyn ExecutionPlan>,
    /// Whether the plan keeps hashed tables and must not be reset before each execution.
    keeps: bool,
    executions: Arc<AtomicUsize>,
    context: Arc<TaskContext>,
}

impl Fragment {
    /// Plans a part whose relations have the places `0..places`.
    ///
    /// # Errors
    /// What DataFusion refuses.
    pub(super) fn plan(session: &Session, analyzed: LogicalPlan, places: usize) -> Result<Fragment> {
        let state = session.state();
        let optimized = state.optimizer().optimize(analyzed, state, |_, _| {})?;
        let record_bytes = session.conf().record_bytes;
        let optimized = recordless::unbounded(optimized, record_bytes)?;
        let plan = block_on(state.query_planner().create_physical_plan(&optimized, state))?;
        let plan = turn_joins(concat::one_partition(plan)?)?;
        let plan = result_size::check_lists(plan, record_bytes)?;
        let (used, reads) = used_columns(&plan, places);
        let keeps_tables = keeps_tables(&plan);
        Ok(Fragment { plan, used, reads, keeps_tables, kept: None, versions: Vec::new() })
    }

    /// Which columns of a relation are read, ascending.
    pub(super) fn used(&self, place: usize) -> Arc<[usize]> {
        self.used.get(place).cloned().unwrap_or_default()
    }

    /// Whether a relation is read at all.
    pub(super) fn reads(&self, place: usize) -> bool {
        self.reads.get(place).copied().unwrap_or_default()
    }

    /// The plan with its tables hashed, as long as they and the number of its executions allow.
    ///
    /// # Errors
    /// `Internal` if the plan cannot be renewed.
    pub(super) fn begin(&mut self, versions: &[String], context: &Arc<TaskContext>) -> Result<FragmentRun> {
        if let Some(kept) = &self.kept
            && self.versions == versions
            && kept.executions.load(Ordering::Relaxed) < EXECUTIONS_MAX
        {
            return Ok(FragmentRun { context: Arc::clone(context), ..kept.clone() });
        }
        let run = FragmentRun {
            plan: reset_plan_states(Arc::clone(&self.plan))?,
            keeps: self.keeps_tables,
            executions: Arc::default(),
            context: Arc::clone(context),
        };
        self.versions = versions.to_vec();
        self.kept = Some(run.clone());
        Ok(run)
    }

    /// The plan with all that is run, one operator a line.
    pub(super) fn explain(&self) -> String {
        displayable(self.plan.as_ref()).indent(false).to_string()
    }

    /// The plan in the words of a query.
    pub(super) fn outline(&self) -> String {
        outline(&self.plan)
    }
}

impl FragmentRun {
    /// The rows that the plan makes of `relations`.
    ///
    /// # Errors
    /// What an operator or expression returns.
    pub(super) fn execute(
        &self,
        relations: Vec<Relation>,
        observed: Option<Arc<Observed>>,
    ) -> Result<Vec<RecordBatch>> {
        let plan = if self.keeps {
            self.executions.fetch_add(1, Ordering::Relaxed);
            Arc::clone(&self.plan)
        } else {
            reset_plan_states(Arc::clone(&self.plan))?
        };
        let inputs = Inputs { relations, observed };
        let config = self.context.session_config().clone().with_extension(Arc::new(inputs));
        let context = TaskContext::new(
            None,
            String::new(),
            config,
            Default::default(),
            Default::default(),
            Default::default(),
            Default::default(),
            self.context.runtime_env(),
        );
        let mut rows = plan.execute(0, Arc::new(context))?;
        block_on(async {
            let mut all = Vec::new();
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                if batch.num_rows() > 0 {
                    all.push(batch);
                }
            }
            Ok(all)
        })
    }

    /// How many metrics the plan holds: they grow with its executions.
    #[cfg(test)]
    pub(super) fn plan_metrics(&self) -> usize {
        fn count(plan: &Arc<dyn ExecutionPlan>) -> usize {
            let own = plan.metrics().map_or(0, |metrics| metrics.iter().count());
            own + plan.children().into_iter().map(count).sum::<usize>()
        }
        count(&self.plan)
    }
}

/// Turns every join whose build side would read the stream: the build side is kept in the plan, so the second batch
/// would get the first one's rows.
fn turn_joins(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let turned = plan.transform_up(|node| {
        let [left, right] = node.children()[..] else { return Ok(Transformed::no(node)) };
        if !reads_stream(left) || reads_stream(right) {
            return Ok(Transformed::no(node));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            // NOT IN cannot be turned: its plan is renewed for every batch.
            if join.null_aware {
                return Ok(Transformed::no(node));
            }
            return Ok(Transformed::yes(join.swap_inputs(PartitionMode::CollectLeft)?));
        }
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            return Ok(Transformed::yes(join.swap_inputs()?));
        }
        if let Some(join) = node.downcast_ref::<CrossJoinExec>() {
            return Ok(Transformed::yes(join.swap_inputs()?));
        }
        Ok(Transformed::no(node))
    })?;
    Ok(turned.data)
}

fn reads_stream(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.downcast_ref::<SlotExec>() {
        Some(slot) => slot.of == Of::Stream,
        None => plan.children().into_iter().any(reads_stream),
    }
}

/// Whether the plan may be run again without a reset: it hashes static tables, and none of what it keeps reads the
/// stream.
fn keeps_tables(plan: &Arc<dyn ExecutionPlan>) -> bool {
    has_table(plan) && !keeps_stream(plan) && !keeps_bound(plan)
}

/// Whether a node that is run for every batch keeps what it has learned of its rows: a sort that gives the first ones only would
/// compare the next batch with the last one's. What a join collects is run once.
fn keeps_bound(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let sorts = plan.downcast_ref::<SortExec>().is_some_and(|sort| sort.fetch().is_some());
    let children = plan.children();
    let collected = usize::from(collects_first(plan));
    sorts || children.into_iter().skip(collected).any(keeps_bound)
}

/// Whether a node collects its first child: a join.
fn collects_first(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.children().len() > 1 && plan.name() != "ConcatExec"
}

fn has_table(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.downcast_ref::<SlotExec>() {
        Some(slot) => slot.of == Of::Table,
        None => plan.children().into_iter().any(has_table),
    }
}

/// Whether a node that collects its first child reads the stream through it.
fn keeps_stream(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let children = plan.children();
    let kept = collects_first(plan) && children.first().is_some_and(|first| reads_stream(first));
    // Only the operators of the stateless plans are known to keep nothing.
    kept || children.into_iter().any(keeps_stream)
}

/// Per slot, the columns that any of its leaves asks for, and whether there is a leaf.
fn used_columns(plan: &Arc<dyn ExecutionPlan>, places: usize) -> (Vec<Arc<[usize]>>, Vec<bool>) {
    fn collect(plan: &Arc<dyn ExecutionPlan>, used: &mut [BTreeSet<usize>], reads: &mut [bool]) {
        if let Some(slot) = plan.downcast_ref::<SlotExec>() {
            used[slot.place].extend(slot.columns.iter().copied());
            reads[slot.place] = true;
        }
        plan.children().into_iter().for_each(|child| collect(child, used, reads));
    }
    let (mut used, mut reads) = (vec![BTreeSet::new(); places], vec![false; places]);
    collect(plan, &mut used, &mut reads);
    (used.into_iter().map(|columns| columns.into_iter().collect()).collect(), reads)
}
