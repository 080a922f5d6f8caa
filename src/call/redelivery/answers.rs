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
/// The most bytes of answers for all peers, of which each of the most peers always has 64 KiB.
pub(super) const MAX_ANSWER_BYTES_OVERALL: usize = 256 << 20;
/// How long a session of a SuperLink lives: after this it forgets the push (Flower 1.39 to 1.42).
const SESSION_LIFETIME: Duration = Duration::from_secs(180);
/// The memory that an answer takes in addition to its content, in bytes.
const OVERHEAD: usize = 128;

/// The stored answers for one peer, each kind with the oldest first.
#[derive(Debug, Default)]
pub(super) struct Answers {
    messages: VecDeque<Answer>,
    to_replies: VecDeque<Answer>,
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

    /// Returns the memory that it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        let session = if let AnswerKind::Reply { session } = &self.kind { session.len() } else { 0 };
        self.content.len() + self.id.len() + session + OVERHEAD
    }
}

impl Answers {
    /// Returns the memory that all answers take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes what a new answer replaces, and the oldest answers if there are too many for one peer.
    pub(super) fn make_room(&mut self, answer: &Answer) {
        if matches!(answer.kind, AnswerKind::Reply { .. }) {
            retain(&mut self.to_replies, &mut self.bytes, |old| old.node != answer.node || old.id != answer.id);
        }
        while self.bytes + answer.size() > MAX_ANSWER_BYTES && self.remove_oldest() {}
    }

    pub(super) fn insert(&mut self, answer: Answer) {
        self.bytes += answer.size();
        match answer.kind {
            AnswerKind::Message { .. } => self.messages.push_back(answer),
            AnswerKind::Reply { .. } => self.to_replies.push_back(answer),
        }
    }

    /// Removes the oldest answer, those to replies before messages, and returns whether there was one.
    pub(super) fn remove_oldest(&mut self) -> bool {
        let oldest = self.to_replies.pop_front().or_else(|| self.messages.pop_front());
        self.bytes -= oldest.as_ref().map_or(0, Answer::size);
        oldest.is_some()
    }

    /// Returns the answer with the message that was delivered to the node least often.
    pub(super) fn redeliver(&mut self, node: u64) -> Option<Bytes> {
        let messages = self.messages.iter_mut().enumerate().filter_map(|(place, answer)| match &mut answer.kind {
            AnswerKind::Message { times } if answer.node == node => Some((place, times, &answer.content)),
            _ => None,
        });
        let (place, times, content) = messages.min_by_key(|(_, times, _)| **times)?;
        *times += 1;
        let (content, is_last) = (content.clone(), *times > MAX_TIMES);
        if is_last && let Some(removed) = self.messages.remove(place) {
            self.bytes -= removed.size();
        }
        Some(content)
    }

    /// Returns the last answer to this reply, and the session that it named, while the session lives.
    pub(super) fn to_reply(&self, node: u64, id: &str) -> Option<(Bytes, String)> {
        let mut to_reply = self.to_replies.iter().filter_map(|answer| match &answer.kind {
            AnswerKind::Reply { session } if answer.node == node && answer.id == id => Some((answer, session)),
            _ => None,
        });
        let (answer, session) = to_reply.next().filter(|(answer, _)| answer.at.elapsed() < SESSION_LIFETIME)?;
        Some((answer.content.clone(), session.clone()))
    }

    /// Removes the answers with this message: the node has received it.
    pub(super) fn acknowledge(&mut self, node: u64, id: &str) {
        retain(&mut self.messages, &mut self.bytes, |answer| answer.node != node || answer.id != id);
    }

    /// Removes the answer that named this session: the node has received it.
    pub(super) fn acknowledge_session(&mut self, node: u64, session: &str) {
        let names_it = |kind: &AnswerKind| matches!(kind, AnswerKind::Reply { session: named } if named == session);
        retain(&mut self.to_replies, &mut self.bytes, |answer| answer.node != node || !names_it(&answer.kind));
    }

    /// Removes the answers that are older than [`RETENTION`].
    pub(super) fn remove_expired(&mut self) {
        for answers in [&mut self.messages, &mut self.to_replies] {
            while answers.front().is_some_and(|answer| answer.at.elapsed() > RETENTION) {
                self.bytes -= answers.pop_front().map_or(0, |expired| expired.size());
            }
        }
    }
}

fn retain(answers: &mut VecDeque<Answer>, bytes: &mut usize, is_kept: impl Fn(&Answer) -> bool) {
    answers.retain(|answer| {
        let is_kept = is_kept(answer);
        if !is_kept {
            *bytes -= answer.size();
        }
        is_kept
    });
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    impl Answers {
        fn add(&mut self, answer: Answer) {
            self.make_room(&answer);
            self.insert(answer);
        }

        fn is_empty(&self) -> bool {
            self.messages.is_empty() && self.to_replies.is_empty() && self.bytes == 0
        }
    }

    fn message(node: u64, id: &str) -> Answer {
        Answer::new(node, id.into(), AnswerKind::Message { times: 1 }, Bytes::copy_from_slice(id.as_bytes()))
    }

    fn to_reply(id: &str, session: &str) -> Answer {
        let kind = AnswerKind::Reply { session: session.into() };
        Answer::new(7, id.into(), kind, Bytes::copy_from_slice(session.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_redelivered_to_its_node_until_it_is_acknowledged() {
        let mut answers = Answers::default();
        answers.add(message(7, "message"));
        assert_eq!(answers.redeliver(8), None);
        assert_eq!(answers.redeliver(7).unwrap(), "message");
        answers.acknowledge(8, "message");
        answers.acknowledge(7, "other");
        assert!(!answers.is_empty());
        answers.acknowledge(7, "message");
        assert!(answers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_redelivered_a_few_times_only_and_not_after_ten_minutes() {
        let mut answers = Answers::default();
        answers.add(message(7, "message"));
        let times = std::iter::from_fn(|| answers.redeliver(7)).count();
        assert_eq!(times, usize::from(MAX_TIMES));
        answers.add(message(7, "message"));
        answers.add(to_reply("reply", "session"));
        advance(RETENTION + Duration::from_secs(1)).await;
        answers.remove_expired();
        assert!(answers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn each_of_several_messages_is_redelivered() {
        let mut answers = Answers::default();
        answers.add(message(7, "first"));
        answers.add(message(7, "second"));
        let mut redeliver = || answers.redeliver(7).unwrap();
        assert_eq!([redeliver(), redeliver()], ["first", "second"]);
        answers.acknowledge(7, "second");
        assert_eq!(answers.redeliver(7).unwrap(), "first");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_answer_to_a_reply_is_repeated_until_its_session_is_used() {
        let mut answers = Answers::default();
        answers.add(message(7, "reply"));
        answers.add(to_reply("reply", "first session"));
        answers.add(to_reply("reply", "second session"));
        assert_eq!(answers.to_reply(7, "reply").unwrap().1, "second session");
        assert_eq!((answers.to_reply(8, "reply"), answers.to_reply(7, "other")), (None, None));
        answers.acknowledge_session(7, "first session");
        answers.acknowledge_session(8, "second session");
        assert!(answers.to_reply(7, "reply").is_some());
        advance(SESSION_LIFETIME).await;
        assert_eq!(answers.to_reply(7, "reply"), None);
        answers.add(to_reply("reply", "second session"));
        answers.acknowledge_session(7, "second session");
        assert_eq!(answers.to_reply(7, "reply"), None);
        assert_eq!(answers.redeliver(7).unwrap(), "reply", "that is a message, and not the reply");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_with_many_answers_loses_its_oldest_and_those_to_replies_first() {
        let mut answers = Answers::default();
        answers.add(message(7, "first"));
        answers.add(to_reply("reply", "session"));
        let large = |id: &str| {
            let kind = AnswerKind::Message { times: 1 };
            Answer::new(8, id.into(), kind, vec![0; MAX_ANSWER_BYTES - 2 * OVERHEAD - 20].into())
        };
        answers.add(large("large"));
        assert!(answers.to_reply(7, "reply").is_none() && answers.redeliver(7).is_some());
        answers.add(large("other"));
        assert!(answers.redeliver(7).is_none() && answers.redeliver(8).is_some());
        assert_eq!((answers.messages.len(), answers.bytes), (1, answers.messages[0].size()));
    }
}
