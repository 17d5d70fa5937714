//! A session that an MQTT broker keeps for its client, which is filled for every run.

use crate::bare::{PATIENCE, Tally};
use crate::machine::printed;
use crate::rows::Rows;
use crate::server::{Broker, Server};
use rumqttc::{
    AckMode, AsyncClient, BrokerSessionResumePolicy, Event, EventLoop, Incoming, MqttOptions, PublishOptions, QoS,
    SessionMode,
};
use tokio::runtime::{Builder, Runtime};

/// Messages that may wait for their acknowledgement: as src/io/mqtt/connecting.rs has it.
const UNACKNOWLEDGED_MAX: u16 = 1000;

/// Packets that are taken from the connection together, as there.
const READ_TOGETHER: usize = 128;

/// The longest message.
const MESSAGE_BYTES_MAX: u32 = 1 << 24;

fn say(error: impl std::fmt::Display) -> String {
    format!("mqtt: {error}")
}

pub(crate) struct Session {
    server: Server,
    runtime: Runtime,
    name: String,
}

impl Session {
    pub(crate) fn new(server: Server) -> Result<Self, String> {
        Ok(Self {
            server,
            runtime: Builder::new_current_thread().enable_all().build().map_err(say)?,
            name: Server::own_name(),
        })
    }

    /// Makes the session anew. An end of a connection overtakes acknowledgements in this broker, and what they were of would
    /// come again.
    async fn renew(&self) -> Result<(), String> {
        let (client, mut events) = self.client(&self.name, SessionMode::Clean)?;
        until(&mut events, |event| matches!(event, Incoming::ConnAck(_))).await?;
        end(&client, &mut events).await?;
        let (client, mut events) = self.client(&self.name, SessionMode::Persistent)?;
        client
            .subscribe(self.name.as_str(), QoS::AtLeastOnce)
            .await
            .map_err(say)?;
        until(&mut events, |event| matches!(event, Incoming::SubAck(_))).await?;
        end(&client, &mut events).await
    }

    fn client(&self, name: &str, session: SessionMode) -> Result<(AsyncClient, EventLoop), String> {
        let mut options = MqttOptions::new(name, ("127.0.0.1", self.server.port()?));
        options.set_credentials(self.server.says("user")?, self.server.says("password")?.into_bytes());
        options.set_session_mode(session);
        options.set_ack_mode(AckMode::Automatic);
        // The one who is to take messages has nothing of its own that would have to be remembered.
        options.set_broker_session_resume_policy(BrokerSessionResumePolicy::AllowBrokerOnly);
        options.set_receive_maximum(Some(UNACKNOWLEDGED_MAX));
        options.set_max_packet_size(Some(MESSAGE_BYTES_MAX));
        // The client looks through as many places for messages that it has sent whenever it sends something.
        options.set_outgoing_inflight_upper_limit(UNACKNOWLEDGED_MAX);
        options.set_max_request_batch(usize::from(UNACKNOWLEDGED_MAX));
        options.set_read_batch_size(READ_TOGETHER);
        let capacity = 2 * usize::from(UNACKNOWLEDGED_MAX);
        AsyncClient::builder(options)
            .capacity(capacity)
            .try_build()
            .map_err(say)
    }
}

/// Waits for something of the broker.
async fn until(events: &mut EventLoop, mut is: impl FnMut(&Incoming) -> bool) -> Result<(), String> {
    loop {
        match events.poll().await.map_err(say)? {
            Event::Incoming(event) if is(&event) => return Ok(()),
            _ => {}
        }
    }
}

/// Ends a connection once everything has been sent.
async fn end(client: &AsyncClient, events: &mut EventLoop) -> Result<(), String> {
    client.disconnect().await.map_err(say)?;
    while events.poll().await.is_ok() {}
    Ok(())
}

impl Broker for Session {
    fn version(&mut self) -> String {
        let said = printed("/usr/sbin/mosquitto", &["-h"]);
        let version = said.lines().next().unwrap_or_default();
        version.replace("mosquitto version", "Mosquitto")
    }

    fn fill(&mut self, data: &Rows) -> Result<(), String> {
        self.runtime.block_on(async {
            self.renew().await?;
            let (client, mut events) = self.client(&format!("{}-fill", self.name), SessionMode::Clean)?;
            let serving = tokio::spawn(async move { while events.poll().await.is_ok() {} });
            let mut notices = Vec::new();
            for message in &data.messages {
                let options = PublishOptions::at_least_once();
                let sent = client.publish_tracked(self.name.as_str(), message.clone(), options);
                notices.push(sent.await.map_err(say)?);
            }
            for notice in notices {
                notice.wait_completion_async().await.map_err(say)?;
            }
            client.disconnect().await.map_err(say)?;
            serving.await.map_err(say)
        })
    }

    fn feed(&self) -> String {
        let port = self.server.port().unwrap_or_default();
        let user = self.server.says("user").unwrap_or_default();
        format!(
            "[feed]\nname = \"main\"\ntype = \"mqtt\"\nurl = \"mqtt://{user}@127.0.0.1:{port}\"\npassword_file = {:?}\n\
             client_id = \"{}\"\ntopic = \"{}\"\n",
            self.server.path("password"),
            self.name,
            self.name
        )
    }

    fn consume(&mut self, data: &Rows) -> Result<Tally, String> {
        self.runtime.block_on(async {
            let (client, mut events) = self.client(&self.name, SessionMode::Persistent)?;
            let mut tally = Tally::of(data);
            while !tally.is_full() {
                let event = tokio::time::timeout(PATIENCE, events.poll()).await;
                let event = event.map_err(|_| "mqtt gives nothing".to_owned())?.map_err(say)?;
                if let Event::Incoming(Incoming::Publish(message)) = event {
                    tally.take(message.payload.len());
                }
            }
            // What was acknowledged last is still to be sent.
            end(&client, &mut events).await?;
            Ok(tally)
        })
    }

    fn clear(self: Box<Self>) -> Result<(), String> {
        self.runtime.block_on(async {
            let (client, mut events) = self.client(&self.name, SessionMode::Clean)?;
            until(&mut events, |event| matches!(event, Incoming::ConnAck(_))).await?;
            end(&client, &mut events).await
        })
    }
}
