//! Messages to a queue of RabbitMQ, each until the server has it.

use super::Delivery;
use super::target::Sender;
use crate::error::Result;
use crate::io::rabbitmq::publishing::Publisher;
use crate::io::remote::Remote;

/// Publishes messages.
pub(super) struct ToRabbitmq {
    publisher: Publisher,
    /// Makes the names of this run's messages differ from those of any other.
    run: String,
    sent: u64,
}

impl ToRabbitmq {
    /// To this queue of the server with this address.
    pub(super) fn new(url: &str, queue: &str, delivery: &Delivery) -> Result<Self> {
        let mut remote = Remote::new(url);
        remote.password_file.clone_from(&delivery.password_file);
        remote.password_env.clone_from(&delivery.password_env);
        remote.ca_file.clone_from(&delivery.authorities);
        // What is everybody's is no secret.
        remote.insecure = remote.password_file.is_none() && remote.password_env.is_none();
        Ok(Self {
            publisher: Publisher::open(&format!("amqp://{}/{queue}", remote.place()), &remote, queue)?,
            run: format!("generate-{}-{}", std::process::id(), super::now_ns()),
            sent: 0,
        })
    }
}

impl Sender for ToRabbitmq {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.sent += 1;
        let id = format!("{}-{}", self.run, self.sent);
        self.publisher.publish(&id, message)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.publisher.confirm()
    }
}
