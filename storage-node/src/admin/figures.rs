//! What the network says of this node, as its page shows it. The coordinator is asked once in a while, whoever looks at the
//! page and how often, and what it does not answer in time the page does without.

use std::sync::Arc;
use std::time::Duration;

use api::drain::{DrainPlan, DrainView};
use api::earnings::{Earnings, PayoutView};
use api::node_proofs::ProofsView;
use api::nodes::NodeDetail;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Operator;

/// How old it may be.
const KEPT: Duration = Duration::from_secs(10);

const ASK_WITHIN: Duration = Duration::from_secs(5);

const DAYS: u16 = 30;
const PROOFS: u16 = 10;
const PAYOUTS: u16 = 5;

/// Each part is missing where the coordinator has not told it.
#[derive(Default)]
pub(super) struct Figures {
    pub standing: Option<NodeDetail>,
    pub earnings: Option<Earnings>,
    pub payouts: Vec<PayoutView>,
    pub proofs: Vec<ProofsView>,
    pub plan: Option<DrainPlan>,
    pub drain: Option<DrainView>,
}

/// What was said last.
#[derive(Default)]
pub(super) struct Said(Mutex<Option<(Instant, Arc<Figures>)>>);

impl Said {
    pub(super) async fn figures(&self, operator: &Operator) -> Arc<Figures> {
        let mut said = self.0.lock().await;
        if let Some((at, figures)) = said.as_ref()
            && at.elapsed() < KEPT
        {
            return Arc::clone(figures);
        }
        let figures = Arc::new(ask(operator).await);
        *said = Some((Instant::now(), Arc::clone(&figures)));
        figures
    }

    /// Something was changed.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

async fn ask(operator: &Operator) -> Figures {
    let (api, own) = (&operator.api, &operator.credentials);
    let answers = async {
        tokio::join!(
            api.standing(own.node_id),
            api.earnings(own.node_id, &own.api_key, DAYS),
            api.payouts(own, PAYOUTS),
            api.proofs(own, PROOFS),
            api.drain_plan(own),
            api.drain_progress(own),
        )
    };
    let Ok(answers) = timeout(ASK_WITHIN, answers).await else {
        return Figures::default();
    };
    let (standing, earnings, payouts, proofs, plan, drain) = answers;
    Figures {
        standing: standing.ok(),
        earnings: earnings.ok(),
        payouts: payouts.map(|page| page.items).unwrap_or_default(),
        proofs: proofs.map(|page| page.items).unwrap_or_default(),
        plan: plan.ok(),
        drain: drain.ok().flatten(),
    }
}
