//! Stored answers of a SuperLink to one peer, until its nodes have shown that they received them.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::store::RETENTION;

/// How often a message is redelivered. A node that receives it so often and never confirms it cannot use it.
const MAX_TIMES: u8 = 3;
/// The most bytes of answers for each peer. An answer takes a few hundred bytes, and somewhat more than a hundred for each
/// array of its model: this is enough for 50 nodes behind one funnel, each with a model of a thousand arrays.
pub(super) const MAX_ANSWER_BYTES: usize = 8 << 20;
/// The most bytes of answers for all peers.
const MAX_ANSWER_BYTES_OVERALL: usize = 256 << 20;
/// How long a session of a SuperLink lives: after this it forgets the push (Flower 1.39 to 1.42).
const SESSION_LIFETIME: Duration = Duration::from_secs(180);
/// The memory that an answer takes in addition to its content, in bytes.
const OVERHEAD: usize = 128;

/// The stored answers for one peer, the oldest first.
///
/// Methods take the byte count of the answers of all peers, and update it.
#[derive(Debug, Default)]
pub(super) struct Answers {
    answers: VecDeque<Answer>,
    bytes: usize,
}

/// A stored answer.
#[derive(Debug)]
pub(super) struct Answer {
    node: u64,
    id: String,
    kind: AnswerKind,
    content: Bytes,
    at: Instant,
}

/// The kind of a stored answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    /// The answer to a pull, with a message that was delivered this many times.
    Message { times: u8 },
    /// The answer to the push of a reply, which asked for its objects in this session.
    Reply { session: String },
}

impl Answer {
    pub(super) fn new(node: u64, id: String, kind: AnswerKind, content: Bytes) -> Self {
        Self { node, id, kind, content, at: Instant::now() }
    }

    fn size(&self) -> usize {
        let session = if let AnswerKind::Reply { session } = &self.kind { session.len() } else { 0 };
        self.content.len() + self.id.len() + session + OVERHEAD
    }

    fn is_message(&self) -> bool {
        matches!(self.kind, AnswerKind::Message { .. })
    }
}

impl Answers {
    /// Stores an answer. If there are too many, the oldest of the same peer are removed, those to replies before messages,
    /// and never those of other peers.
    pub(super) fn insert(&mut self, answer: Answer, overall: &mut usize) {
        if !answer.is_message() {
            self.retain(|old| old.is_message() || old.node != answer.node || old.id != answer.id, overall);
        }
        let size = answer.size();
        if *overall - self.bytes + size > MAX_ANSWER_BYTES_OVERALL {
            return;
        }
        while self.bytes + size > MAX_ANSWER_BYTES || *overall + size > MAX_ANSWER_BYTES_OVERALL {
            let first_reply = self.answers.iter().position(|old| !old.is_message());
            if !self.remove(first_reply.unwrap_or(0), overall) {
                return;
            }
        }
        (self.bytes, *overall) = (self.bytes + size, *overall + size);
        self.answers.push_back(answer);
    }

    /// Returns the answer with the message that was delivered to the node least often.
    pub(super) fn redeliver(&mut self, node: u64, overall: &mut usize) -> Option<Bytes> {
        let messages = self.answers.iter_mut().enumerate().filter_map(|(place, answer)| match &mut answer.kind {
            AnswerKind::Message { times } if answer.node == node => Some((place, times, &answer.content)),
            _ => None,
        });
        let (place, times, content) = messages.min_by_key(|(_, times, _)| **times)?;
        *times += 1;
        let (content, is_last) = (content.clone(), *times > MAX_TIMES);
        if is_last {
            self.remove(place, overall);
        }
        Some(content)
    }

    /// Returns the last answer to this reply, and the session that it named, while the session lives.
    pub(super) fn to_reply(&self, node: u64, id: &str) -> Option<(Bytes, String)> {
        let of_node = self
            .answers
            .iter()
            .filter(|answer| answer.node == node && answer.id == id && answer.at.elapsed() < SESSION_LIFETIME);
        let mut to_replies = of_node.filter_map(|answer| match &answer.kind {
            AnswerKind::Reply { session } => Some((answer.content.clone(), session.clone())),
            AnswerKind::Message { .. } => None,
        });
        to_replies.next()
    }

    /// Removes the answers with this message: the node has received it.
    pub(super) fn acknowledge(&mut self, node: u64, id: &str, overall: &mut usize) {
        self.retain(|answer| !(answer.is_message() && answer.node == node && answer.id == id), overall);
    }

    /// Removes the answer that named this session: the node has received it.
    pub(super) fn acknowledge_session(&mut self, node: u64, session: &str, overall: &mut usize) {
        let names_it = |kind: &AnswerKind| matches!(kind, AnswerKind::Reply { session: named } if named == session);
        self.retain(|answer| !(answer.node == node && names_it(&answer.kind)), overall);
    }

    /// Removes the answers that are older than [`RETENTION`].
    pub(super) fn remove_expired(&mut self, overall: &mut usize) {
        while self.answers.front().is_some_and(|answer| answer.at.elapsed() > RETENTION) {
            self.remove(0, overall);
        }
    }

    pub(super) fn clear(&mut self, overall: &mut usize) {
        self.retain(|_| false, overall);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Removes the answer in this place, and returns whether there was one.
    fn remove(&mut self, place: usize, overall: &mut usize) -> bool {
        let Some(answer) = self.answers.remove(place) else { return false };
        let size = answer.size();
        (self.bytes, *overall) = (self.bytes - size, *overall - size);
        true
    }

    fn retain(&mut self, is_kept: impl Fn(&Answer) -> bool, overall: &mut usize) {
        let before = self.bytes;
        let bytes = &mut self.bytes;
        self.answers.retain(|answer| {
            let is_kept = is_kept(answer);
            if !is_kept {
                *bytes -= answer.size();
            }
            is_kept
        });
        *overall -= before - self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn message(node: u64, id: &str) -> Answer {
        Answer::new(node, id.into(), AnswerKind::Message { times: 1 }, Bytes::copy_from_slice(id.as_bytes()))
    }

    fn to_reply(id: &str, session: &str) -> Answer {
        let kind = AnswerKind::Reply { session: session.into() };
        Answer::new(7, id.into(), kind, Bytes::copy_from_slice(session.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_redelivered_to_its_node_until_it_is_acknowledged() {
        let (mut answers, mut overall) = (Answers::default(), 0);
        answers.insert(message(7, "message"), &mut overall);
        assert_eq!(answers.redeliver(8, &mut overall), None);
        assert_eq!(answers.redeliver(7, &mut overall).unwrap(), "message");
        answers.acknowledge(8, "message", &mut overall);
        answers.acknowledge(7, "other", &mut overall);
        assert!(!answers.is_empty());
        answers.acknowledge(7, "message", &mut overall);
        assert!(answers.is_empty() && (answers.bytes, overall) == (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_redelivered_a_few_times_only_and_not_after_ten_minutes() {
        let (mut answers, mut overall) = (Answers::default(), 0);
        answers.insert(message(7, "message"), &mut overall);
        let times = std::iter::from_fn(|| answers.redeliver(7, &mut overall)).count();
        assert_eq!(times, usize::from(MAX_TIMES));
        answers.insert(message(7, "message"), &mut overall);
        advance(RETENTION + Duration::from_secs(1)).await;
        answers.remove_expired(&mut overall);
        assert!(answers.is_empty() && (answers.bytes, overall) == (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn each_of_several_messages_is_redelivered() {
        let (mut answers, mut overall) = (Answers::default(), 0);
        answers.insert(message(7, "first"), &mut overall);
        answers.insert(message(7, "second"), &mut overall);
        let mut redeliver = || answers.redeliver(7, &mut overall).unwrap();
        assert_eq!([redeliver(), redeliver()], ["first", "second"]);
        answers.acknowledge(7, "second", &mut overall);
        assert_eq!(answers.redeliver(7, &mut overall).unwrap(), "first");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_answer_to_a_reply_is_repeated_until_its_session_is_used() {
        let (mut answers, mut overall) = (Answers::default(), 0);
        answers.insert(message(7, "reply"), &mut overall);
        answers.insert(to_reply("reply", "first session"), &mut overall);
        answers.insert(to_reply("reply", "second session"), &mut overall);
        assert_eq!(answers.to_reply(7, "reply").unwrap().1, "second session");
        assert_eq!((answers.to_reply(8, "reply"), answers.to_reply(7, "other")), (None, None));
        answers.acknowledge_session(7, "first session", &mut overall);
        answers.acknowledge_session(8, "second session", &mut overall);
        assert!(answers.to_reply(7, "reply").is_some());
        advance(SESSION_LIFETIME).await;
        assert_eq!(answers.to_reply(7, "reply"), None);
        answers.insert(to_reply("reply", "second session"), &mut overall);
        answers.acknowledge_session(7, "second session", &mut overall);
        assert_eq!(answers.to_reply(7, "reply"), None);
        assert_eq!(answers.redeliver(7, &mut overall).unwrap(), "reply", "that is a message, and not the reply");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_with_many_answers_loses_its_own_and_none_of_other_peers() {
        let (mut one, mut many, mut overall) = (Answers::default(), Answers::default(), 0);
        one.insert(message(7, "message"), &mut overall);
        for _ in 0..100 {
            let answer =
                Answer::new(7, String::new(), AnswerKind::Message { times: 1 }, vec![0; MAX_ANSWER_BYTES / 10].into());
            many.insert(answer, &mut overall);
        }
        assert_eq!(many.answers.len(), 9);
        assert_eq!(overall, one.bytes + many.bytes);
        let (mut late, mut full) = (Answers::default(), MAX_ANSWER_BYTES_OVERALL);
        late.insert(message(7, "late"), &mut full);
        assert!(late.is_empty() && one.redeliver(7, &mut overall).is_some());
    }
}
