//! Requests of peers on their way in, answers of peers on their way to whoever asked.

use bytes::Bytes;
use libp2p::core::upgrade::NegotiationError;
use libp2p::request_response::{self, OutboundFailure, OutboundRequestId};
use proto::Protocol;

use super::NetworkService;
use crate::behaviour::RequestResponseEvent;
use crate::event::InboundRequest;
use crate::handle::CallError;

impl NetworkService {
    pub(super) fn handle_rpc_event(&mut self, protocol: Protocol, event: RequestResponseEvent) {
        if let request_response::Event::Message {
            peer,
            connection_id,
            ..
        } = &event
        {
            self.note_life(*peer);
            self.swarm.behaviour_mut().ping.heard(*connection_id);
        }
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                request_response::Message::Request {
                    request_id,
                    request,
                    channel,
                } => {
                    let commands = self.answer_commands.clone();
                    let request =
                        InboundRequest::new(peer, protocol, request_id, request, channel, commands);
                    if self.requests.try_send(request).is_err() {
                        tracing::warn!(%peer, ?protocol, "dropped a request: too many are waiting");
                    }
                }
                request_response::Message::Response {
                    request_id,
                    response,
                } => self.settle(protocol, request_id, Ok(response.head)),
            },
            request_response::Event::OutboundFailure {
                request_id, error, ..
            } => {
                let error = match error {
                    OutboundFailure::DialFailure => CallError::NotConnected,
                    OutboundFailure::UnsupportedProtocols => CallError::Unsupported,
                    OutboundFailure::Timeout => CallError::Timeout,
                    OutboundFailure::ConnectionClosed => CallError::ConnectionLost,
                    OutboundFailure::Io(error) if is_refused(&error) => CallError::Unsupported,
                    OutboundFailure::Io(error) => CallError::Io(error.to_string()),
                };
                self.settle(protocol, request_id, Err(error));
            }
            request_response::Event::InboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                self.answers_leaving.remove(&(protocol, request_id));
                tracing::debug!(%peer, ?protocol, %error, "an inbound exchange failed");
            }
            request_response::Event::ResponseSent { request_id, .. } => {
                self.answers_leaving.remove(&(protocol, request_id));
            }
        }
    }

    fn settle(
        &mut self,
        protocol: Protocol,
        id: OutboundRequestId,
        outcome: Result<Bytes, CallError>,
    ) {
        if let Some((reply, _slot)) = self.calls.remove(&(protocol, id)) {
            let _ = reply.send(outcome); // whoever asked may have given up
        }
    }
}

/// Whether a stream ended because the peer does not speak its protocol.
fn is_refused(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(NegotiationError::Failed))
}
