//! What the stand-in keeps: objects by name, and the first answer under each key.

use std::collections::HashMap;

use serde_json::{Value, json};

#[derive(Default)]
pub(super) struct Books {
    objects: Vec<(String, Value)>,
    answers: HashMap<String, (u16, Value, String)>,
    made: u64,
}

impl Books {
    /// Adds an object under a name of its own: `pi_7`.
    pub(super) fn add(&mut self, prefix: &str, mut object: Value) -> Value {
        self.made += 1;
        let name = format!("{prefix}_{}", self.made);
        object["id"] = json!(name);
        if prefix == "pi" {
            object["client_secret"] = json!(format!("{name}_secret_planted"));
        }
        self.objects.push((name, object.clone()));
        object
    }

    pub(super) fn object(&self, name: &str) -> Option<&Value> {
        let mut all = self.objects.iter();
        all.find(|(own, _)| own == name).map(|(_, object)| object)
    }

    fn object_mut(&mut self, name: &str) -> Option<&mut Value> {
        let mut all = self.objects.iter_mut();
        all.find(|(own, _)| own == name).map(|(_, object)| object)
    }

    pub(super) fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        let objects = self.objects.iter().map(|(_, object)| object);
        objects.filter(move |object| object["object"] == kind)
    }

    pub(super) fn names(&self, kind: &str) -> Vec<String> {
        let names = self.all(kind).filter_map(|object| object["id"].as_str());
        names.map(str::to_owned).collect()
    }

    pub(super) fn change(&mut self, name: &str, changed: &Value) {
        let Some(object) = self.object_mut(name) else {
            return;
        };
        for (member, value) in changed.as_object().into_iter().flatten() {
            object[member] = value.clone();
        }
    }

    pub(super) fn pay(&mut self, payment: &str) {
        let amount = self
            .object(payment)
            .map(|payment| payment["amount"].clone());
        let changed = json!({"status": "succeeded", "amount_received": amount});
        self.change(payment, &changed);
    }

    pub(super) fn dispute(&mut self, payment: &str, cents: u64, status: &str) -> String {
        let dispute = json!({"object": "dispute", "amount": cents, "currency": "usd", "status": status,
            "payment_intent": payment, "reason": "fraudulent", "metadata": {}});
        let made = self.add("dp", dispute);
        made["id"].as_str().unwrap_or_default().to_owned()
    }

    /// The operator has paid something back by hand.
    pub(super) fn refund(&mut self, payment: &str, cents: u64, status: &str) -> String {
        let refund = json!({"object": "refund", "amount": cents, "currency": "usd", "status": status,
            "payment_intent": payment, "reason": "requested_by_customer", "metadata": {}});
        let made = self.add("re", refund);
        made["id"].as_str().unwrap_or_default().to_owned()
    }

    /// What was answered under this key before, and to which question.
    pub(super) fn answered(&self, key: &str) -> Option<&(u16, Value, String)> {
        self.answers.get(key)
    }

    pub(super) fn remember(&mut self, key: &str, status: u16, answer: Value, question: String) {
        self.answers
            .insert(key.to_owned(), (status, answer, question));
    }

    pub(super) fn forget_keys(&mut self) {
        self.answers.clear();
    }
}
