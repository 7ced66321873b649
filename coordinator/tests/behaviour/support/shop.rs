//! A coordinator that sells and pays through Stripe, as far as it can tell: the other end is the stand-in.

use coordinator::bookkeeping::chart;
use http::StatusCode;
use kit::Clock;
use payments::stand_in::{SECRET_KEY, StandIn, WEBHOOK_SECRET};
use proto::NodeId;
use serde_json::Value;
use sqlx::PgPool;
use tempfile::TempDir;

use super::economy::{idle_node, verified};
use super::{Answer, Client, Coordinator, post};
use model::ids::UserId;

pub(crate) struct Shop {
    pub stripe: StandIn,
    pub coordinator: Coordinator,
    pub pool: PgPool,
    secrets: TempDir,
}

impl Shop {
    pub(crate) async fn open(pool: PgPool) -> Self {
        Self::with(pool, &[]).await
    }

    pub(crate) async fn with(pool: PgPool, settings: &[&str]) -> Self {
        let stripe = StandIn::start().await.unwrap();
        let secrets = tempfile::tempdir().unwrap();
        std::fs::write(secrets.path().join("key"), SECRET_KEY).unwrap();
        std::fs::write(secrets.path().join("webhooks"), WEBHOOK_SECRET).unwrap();
        let own = own_settings(&stripe, &secrets);
        let own = own.iter().map(String::as_str);
        let all: Vec<&str> = own.chain(settings.iter().copied()).collect();
        let coordinator = Coordinator::with(pool.clone(), &all).await;
        Self {
            stripe,
            coordinator,
            pool,
            secrets,
        }
    }

    /// Another coordinator on the same database: what the first one did not finish is for it.
    pub(crate) async fn another(&self) -> Coordinator {
        let own = own_settings(&self.stripe, &self.secrets);
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        self.coordinator.beside(&own).await
    }

    /// Orders credits.
    pub(crate) async fn buy(&self, client: &Client, usd: &str, key: &str) -> Answer {
        let call = client.post("/api/v1/auth/credits/purchase");
        let call = call.header("idempotency-key", key);
        call.body(format!("{{\"amount_usd\":{usd}}}")).send().await
    }

    /// Orders credits that are to be paid yet. The purchase, and the payment that was made for it.
    pub(crate) async fn order(&self, client: &Client, usd: &str, key: &str) -> (Value, String) {
        let answer = self.buy(client, usd, key).await;
        let purchase = answer.expect(StatusCode::ACCEPTED);
        (purchase, self.stripe.payments().pop().unwrap())
    }

    /// What Stripe sends when something has happened to this object.
    pub(crate) async fn told(&self, kind: &str, name: &str) -> Answer {
        let (body, signature) = self.stripe.event(kind, name, Clock::system().now());
        self.webhook(&body, Some(&signature)).await
    }

    pub(crate) async fn webhook(&self, body: &str, signature: Option<&str>) -> Answer {
        let call = self.coordinator.visitor();
        let call = call.post("/api/v1/payments/webhook");
        let call = match signature {
            Some(signature) => call.header("stripe-signature", signature),
            None => call,
        };
        let call = call.header("content-type", "application/json; charset=utf-8");
        call.body(body.to_owned()).send().await
    }

    /// A purchase that is paid.
    pub(crate) async fn sell(&self, client: &Client, usd: &str, key: &str) -> String {
        let (_, payment) = self.order(client, usd, key).await;
        self.stripe.pay(&payment);
        let told = self.told("payment_intent.succeeded", &payment).await;
        assert_eq!(told.status, StatusCode::OK);
        payment
    }

    /// Everything that waits for a time is due.
    pub(crate) async fn hurry(&self) {
        for table in [
            "UPDATE purchases SET try_at = now() WHERE state = 'pending'",
            "UPDATE payouts SET look_at = now() WHERE state = 'pending'",
            "UPDATE disputes SET try_at = now() WHERE try_at IS NOT NULL",
        ] {
            sqlx::query(table).execute(&self.pool).await.unwrap();
        }
    }

    /// Transfers in the ledger of one kind.
    pub(crate) async fn moved(&self, kind: &str) -> i64 {
        let query = sqlx::query_scalar("SELECT count(*) FROM transfers WHERE kind = $1");
        query.bind(kind).fetch_one(&self.pool).await.unwrap()
    }

    /// Money moved once, says `ledger verify`.
    pub(crate) async fn verified(&self) {
        verified(&self.coordinator).await;
    }

    /// A node of this operator that has earned so much.
    pub(crate) async fn rich_node(&self, operator: UserId, microcredits: i64) -> NodeId {
        let node = idle_node(&self.pool).await;
        let query = sqlx::query("UPDATE nodes SET operator_id = $1 WHERE node_id = $2");
        let query = query.bind(operator.as_uuid()).bind(node.as_uuid());
        query.execute(&self.pool).await.unwrap();
        let entries = [
            (chart::INCOME, -microcredits),
            (chart::node_available(node), microcredits),
        ];
        post(&self.pool, &format!("fund {node}"), &entries)
            .await
            .unwrap();
        node
    }
}

fn own_settings(stripe: &StandIn, secrets: &TempDir) -> [String; 5] {
    let file = |name: &str| secrets.path().join(name).display().to_string();
    [
        "money.provider=stripe".to_owned(),
        format!("stripe.api_url={}", stripe.url()),
        format!("stripe.secret_key_file={}", file("key")),
        format!("stripe.webhook_secret_file={}", file("webhooks")),
        "stripe.return_url=https://storage.example.com/account".to_owned(),
    ]
}
