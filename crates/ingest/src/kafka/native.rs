//! What librdkafka says and rdkafka does not pass on: a topic's id, and the end of a partition as the last fetch told it.
#![allow(unsafe_code, reason = "librdkafka is a C library, and the crate over it lacks these two calls")]

use std::ffi::{CStr, CString};
use std::os::raw::c_int;
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaErrorCode;

/// A topic as its cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    /// Its id, in base 64.
    pub(super) id: String,
    /// The numbers of its partitions.
    pub(super) partitions: Vec<i32>,
}

/// Releases what it holds by the function that librdkafka has for it.
struct Held<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from librdkafka, is not null, is released here alone, and by the function that goes with its type.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// Asks the cluster to describe a topic.
pub(super) fn describe<C: ClientContext>(client: &Client<C>, topic: &str, patience: Duration) -> Result<Described, RDKafkaErrorCode> {
    let millis = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::UnknownTopic)?;
    let rk = client.native_ptr();
    // SAFETY: `rk` lives as long as `client`. Each object is made by librdkafka and held by a guard until the end of this function; the event owns the result and
    // all that is read from it, and is among them. Pointers that may be null are checked before they are read.
    unsafe {
        let mut names = [name.as_ptr()];
        let topics = Held(sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()), sys::rd_kafka_TopicCollection_destroy);
        let queue = Held(sys::rd_kafka_queue_new(rk), sys::rd_kafka_queue_destroy);
        let options =
            Held(sys::rd_kafka_AdminOptions_new(rk, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS), sys::rd_kafka_AdminOptions_destroy);
        sys::rd_kafka_AdminOptions_set_request_timeout(options.0, millis, ptr::null_mut(), 0);
        sys::rd_kafka_DescribeTopics(rk, topics.0, options.0, queue.0);
        let event = Held(sys::rd_kafka_queue_poll(queue.0, millis), sys::rd_kafka_event_destroy);
        if event.0.is_null() {
            return Err(RDKafkaErrorCode::OperationTimedOut);
        }
        fine(sys::rd_kafka_event_error(event.0))?;
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let mut count = 0;
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if described.is_null() || count == 0 {
            return Err(RDKafkaErrorCode::UnknownTopic);
        }
        described_topic(*described)
    }
}

/// # Safety
/// `topic` must point to a description that lives on until this returns.
unsafe fn described_topic(topic: *const sys::rd_kafka_TopicDescription_t) -> Result<Described, RDKafkaErrorCode> {
    // SAFETY: as the caller promises; what is read belongs to the description.
    unsafe {
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            fine(sys::rd_kafka_error_code(error))?;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let text = if id.is_null() { ptr::null() } else { sys::rd_kafka_Uuid_base64str(id) };
        let id = if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() };
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let number = |at: usize| sys::rd_kafka_TopicPartitionInfo_partition(*partitions.add(at));
        let partitions = if partitions.is_null() { Vec::new() } else { (0..count).map(number).collect() };
        Ok(Described { id, partitions })
    }
}

/// The end of a partition as it was when it was last fetched from; nothing is asked.
pub(super) fn known_end<C: ClientContext>(client: &Client<C>, topic: &str, partition: i32) -> Option<u64> {
    let name = CString::new(topic).ok()?;
    let (mut low, mut high) = (0, 0);
    // SAFETY: the client is alive, the name ends in a zero byte, and both numbers outlive the call.
    let code = unsafe { sys::rd_kafka_get_watermark_offsets(client.native_ptr(), name.as_ptr(), partition, &mut low, &mut high) };
    fine(code).ok()?;
    u64::try_from(high).ok()
}

fn fine(code: sys::rd_kafka_resp_err_t) -> Result<(), RDKafkaErrorCode> {
    match RDKafkaErrorCode::from(code) {
        RDKafkaErrorCode::NoError => Ok(()),
        error => Err(error),
    }
}
