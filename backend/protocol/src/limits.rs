//! Every limit, named, with its unit and its reason.
//!
//! A limit that an operator may want to change is a default here and a key in the configuration: rates,
//! connections, sockets, and how much of everything there may be. The others are fixed: sizes of frames, messages,
//! updates and documents, since they follow from the format, from each other and from what a page can show;
//! times, since stock clients and proxies rely on them; queues, since they protect the promises about memory.

use std::time::Duration;

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// How often in a second, over a longer time.
    pub per_second: f64,
    /// How often at once.
    pub burst: f64,
}

/// Bytes of a frame's address: two ids, a separator and a provider's session id with room to spare.
pub const ADDRESS_BYTES: usize = 256;
/// Bytes of one WebSocket message. A paste of a whole large file fits; nothing honest is larger.
pub const MESSAGE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one Update: the largest document in three-byte characters, pasted at once or loaded from a page's
/// local store after it joined.
pub const UPDATE_BYTES: usize = 7 * 1024 * 1024;
/// Bytes of a token in an Auth message.
pub const TOKEN_BYTES: usize = 512;
/// Bytes of one JSON-RPC request.
pub const RPC_BYTES: usize = 256 * 1024;

/// Presence entries in one message. A connection has one entry per address; a client that was just told
/// everybody's presence may repeat it, and those are ignored.
pub const PRESENCE_ENTRIES_PER_MESSAGE: usize = 64;
/// Client ids that one connection may show presence under in one document: its own, and another each time Yjs finds
/// it in use.
pub const PRESENCE_IDS_PER_PEER: usize = 64;
/// Presence entries a room keeps of those who left, for their clocks.
pub const PRESENCE_GONE: usize = 1_000;
/// Bytes of one presence state.
pub const PRESENCE_STATE_BYTES: usize = 2048;
/// Largest clock of a presence entry: one every millisecond for nine thousand years. It is counted further when an
/// entry goes, and browsers refuse what is over 2^53.
pub const PRESENCE_CLOCK_MAX: u64 = 1 << 48;
/// Nesting of one presence state: a cursor has four levels.
pub const PRESENCE_DEPTH: usize = 8;
/// How often a room tells presence to its peers at the most: twenty times a second.
pub const PRESENCE_INTERVAL: Duration = Duration::from_millis(50);
/// How often one entry is told at the most: ten times a second.
pub const PRESENCE_ENTRY_INTERVAL: Duration = Duration::from_millis(100);
/// An entry nobody renewed for so long is gone; clients renew every 15 s.
pub const PRESENCE_EXPIRY: Duration = Duration::from_secs(30);
/// The server renews its agents' entries so often: half of what clients wait.
pub const PRESENCE_RENEWAL: Duration = Duration::from_secs(15);

/// Largest next clock of a client: half of what Yjs can count, so that sums cannot overflow.
pub const CLOCK_MAX: u32 = (1 << 31) - 1;
/// UTF-16 units of text visible in one document.
pub const DOCUMENT_UNITS: u64 = 2 * 1024 * 1024;
/// Units one person may insert into one document at any speed, gone or not: eight lives of a full one. There is no
/// such limit for the document, since one person could use it up for all.
pub const PERSON_UNITS: u64 = 8 * DOCUMENT_UNITS;
/// Units a person inserts who has used up that: as fast as somebody types, so that nobody who types is locked out
/// for ever; a program that rewrites a file again and again is.
pub const PERSON_UNITS_AFTER: Rate = Rate { per_second: 50.0, burst: 5_000.0 };
/// Client ids one person begins to write under in one document. A tab makes one, a storm of reloads a few hundred.
/// Each is kept for ever and sent to everybody who opens the document: 14 bytes, a thousand of them 14 KB.
pub const NEW_CLIENTS: Rate = Rate { per_second: 1.0 / 30.0, burst: 1_000.0 };
/// Client ids of others that one person brings at once: back after a crash or a restored backup, from which all of a
/// busy class may be missing, or with a long history from elsewhere into an empty document.
pub const GIVEN_BACK_CLIENTS: Rate = Rate { per_second: 10.0, burst: 20_000.0 };
/// Runs that an update's items are compared with, summed: the work of placing them; and stretches it deletes. Two people who each put 400
/// lines on top of the same text before they meet ask for 160 000, which takes milliseconds; a hostile update of a
/// few kilobytes can keep a server busy for minutes.
pub const UPDATE_WORK: u32 = 200_000;
/// Places in which one update may want gone what a turn or a review has deleted already. Each is a row of the ledger
/// for ever. Deleting by hand makes one, and one more for each gap between what turns took; a few hundred at the most.
pub const UPDATE_WISHES: usize = 10_000;
/// Work one peer's updates may ask for: one for each block, one for each run passed in placing them. A large
/// undo restores thousands of blocks at once; nobody types two thousand a second.
pub const PEER_WORK: Rate = Rate { per_second: 2_000.0, burst: 200_000.0 };
/// Replies to a peer's step 1 that are large: a client asks again when it reconnects, and now and then.
pub const PEER_LARGE_REPLIES: Rate = Rate { per_second: 0.1, burst: 12.0 };
/// Work that one person's peers in one document may ask for together, coming and going as they like: ten tabs at
/// their limit. It counts what [`PEER_WORK`] counts, and large replies by their size.
pub const PERSON_WORK: Rate = Rate { per_second: 20_000.0, burst: 2_000_000.0 };
/// Bytes of one person's updates in one document that are kept for ever: ten times the largest text at once, and as
/// much in a day as a program writes that changes a large file every minute. Else one person fills the disk.
pub const PERSON_BYTES: Rate = Rate { per_second: 128.0 * 1024.0, burst: 64.0 * 1024.0 * 1024.0 };
/// Bytes of a reply that count as one unit of work: encoding two megabytes takes what placing 32 000 runs does.
pub const REPLY_BYTES_PER_WORK: usize = 64;
/// Bytes from which a reply to a step 1 is large.
pub const LARGE_REPLY_BYTES: usize = 64 * 1024;
/// A room at work on one message for so long is replaced. It is counted in looks of its supervisor, so that a machine
/// that was suspended, or has too much to do, replaces none.
pub const ROOM_STALL: Duration = Duration::from_secs(2);
/// Refused updates of one person that are kept aside, and that have a line of the log each: whoever looks for what
/// went wrong needs a few.
pub const REFUSED_UPDATES: Rate = Rate { per_second: 20.0 / 3600.0, burst: 20.0 };
/// Bytes of one person's refused updates that are kept aside: one large one in an hour. Of more only the hash is
/// kept.
pub const REFUSED_BYTES: Rate =
    Rate { per_second: 8.0 * 1024.0 * 1024.0 / 3600.0, burst: 8.0 * 1024.0 * 1024.0 };
/// How often the log says how many updates of a person were refused beyond those.
pub const REFUSED_SUMMARY: Duration = Duration::from_hours(1);
/// Refused updates that wait to be kept aside, over all rooms; further ones are dropped.
pub const REFUSED_WAITING: usize = 16;
/// How often a peer is asked what the server lacks, after something happened in the document.
pub const RESYNC: Duration = Duration::from_secs(30);
/// How often a peer is asked at the least, in a document in which nothing happens: another tab's text can have come
/// to it that the server was never told.
pub const RESYNC_QUIET: Duration = Duration::from_mins(5);
/// How long nothing was written in a document before its live text is compared with a reload.
pub const COMPARE_QUIET: Duration = Duration::from_secs(30);
/// Documents compared with a reload at the same time: it takes a core, and nobody waits for it.
pub const COMPARISONS: usize = 1;
/// A document whose live text differs from a reload is made again from its log at most this often: where that does
/// not help, turning its peers out again and again does not either.
pub const REBUILD_INTERVAL: Duration = Duration::from_hours(1);
/// How long opening a document waits for what its lost room had handed to the store: longer than any commit on a
/// disk that works.
pub const ROOM_SETTLE: Duration = Duration::from_secs(5);
/// How long after a crash peers may give back what others had typed and the server lost.
pub const RECOVERY_WINDOW: Duration = Duration::from_mins(2);
/// Updates that made a room die, remembered so that they are not taken a second time.
pub const SUSPECTS: usize = 1024;
/// Updates of one peer that wait for something not yet here.
pub const HELD_UPDATES: usize = 256;
/// Bytes of one peer's updates that wait for something not yet here.
pub const HELD_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of all of a room's updates that wait for something: a class that comes back at once with what it typed
/// offline, and not five hundred times [`HELD_BYTES`].
pub const ROOM_HELD_BYTES: usize = 32 * 1024 * 1024;

/// Bytes queued for one peer of one document before they are replaced by one diff.
pub const OUTBOX_BYTES: usize = 1024 * 1024;
/// Bytes of answers queued on one socket before it is read from no further.
pub const OUTBOX_REPLY_BYTES: usize = 4 * 1024 * 1024;
/// A socket that takes nothing for so long is closed with 1013.
pub const UNREAD_LIMIT: Duration = Duration::from_mins(1);
/// How fast a socket has to take what it is sent in the long run: nobody edits on a line slower than this, and
/// whoever takes a byte a minute would hold what waits for them for ever.
pub const UNREAD_BYTES_PER_SECOND: u64 = 1024;
/// A socket from which nothing comes for so long is closed with 4508.
pub const SILENCE_LIMIT: Duration = Duration::from_mins(1);
/// A socket carries a frame at least this often, since browsers do not show pings to programs.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A new socket that has not authenticated for any document after so long is closed, and a document it says
/// something about without authenticating for it is refused.
pub const SIGN_IN_LIMIT: Duration = Duration::from_mins(1);
/// Documents one socket may have open or be asking for.
pub const DOCUMENTS_PER_SOCKET: usize = 100;
/// Frames for one address that wait for its authentication.
pub const PENDING_FRAMES: usize = 1000;
/// Refused sign-ins on a socket nobody has signed in on, after which it is closed: every document a page may have
/// open, asked for once with a token that is not good any more.
pub const SIGN_IN_REFUSALS: usize = DOCUMENTS_PER_SOCKET;
/// Bytes of frames on one socket that wait for authentication.
pub const PENDING_BYTES: usize = 9 * 1024 * 1024;
/// Bytes of a WebSocket's read buffer: the default of 128 KiB would make idle sockets dear.
pub const SOCKET_READ_BUFFER: usize = 8 * 1024;

/// Messages in a room's inbox; a full one slows the senders down.
pub const ROOM_INBOX: usize = 256;
/// Updates of one room that wait for their commit; beyond that they are held, by peer, until some are stored.
///
/// Memory is bounded by [`ROOM_UNCOMMITTED_BYTES`] and what each costs beside its bytes, about a kilobyte; what this
/// number is for is the store's queue of 8192 writes, of which one document shall not take more than an eighth while
/// the database hangs. Twenty people who type fill it in ten seconds, and what is held of them lasts for half a
/// minute more; coming back starts that anew, with all they typed as one update.
pub const ROOM_UNCOMMITTED: usize = 1024;
/// Bytes of updates of one room that wait for their commit; beyond that they are held.
pub const ROOM_UNCOMMITTED_BYTES: usize = 8 * 1024 * 1024;
/// How long somebody who reads over HTTP waits until what was typed is saved, before they get what was saved last.
pub const READ_WAIT: Duration = Duration::from_secs(2);
/// Peers in one room.
pub const PEERS_PER_ROOM: usize = 500;
/// Documents open at once, trees and turns among them; each costs its text several times over.
pub const OPEN_DOCUMENTS: usize = 10_000;
/// A room nobody is in is closed after so long.
pub const ROOM_IDLE: Duration = Duration::from_secs(30);
/// Updates after which a room writes a snapshot.
pub const SNAPSHOT_UPDATES: u64 = 500;
/// Bytes of updates after which a room writes a snapshot.
pub const SNAPSHOT_BYTES: usize = 1024 * 1024;

/// How long a room keeps a place for edits that several rooms commit together, and how long those wait for one:
/// far more than preparing and committing takes, and bounded, since others' turns wait meanwhile.
pub const ROOM_HOLD: Duration = Duration::from_secs(5);
/// Updates that are read again to tell the text of an older version: forty snapshots' worth.
pub const PAST_UPDATES: u32 = 20_000;

/// Characters of a path in a project.
pub const PATH_CHARS: usize = 255;
/// Characters of a name of a person, a project or a token.
pub const NAME_CHARS: usize = 80;
/// Documents in one project.
pub const DOCUMENTS_PER_PROJECT: usize = 5000;
/// Characters of a prompt.
pub const PROMPT_CHARS: usize = 32_000;
/// Characters of a model's answer that are kept.
pub const ANSWER_CHARS: usize = 200_000;
/// Bytes of one answer of a model, what it thinks aloud included: several times what any model can write in one. One
/// that repeats itself without end is ended there, since what it says is in memory up to three times over until it
/// has a place.
pub const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Replacements in one request: more than a person would look through, and each is looked for in the whole text.
pub const EDITS_PER_REQUEST: usize = 500;
/// Files one patch is about: a rename through a whole small project fits.
pub const PATCH_FILES: usize = 100;
/// Hunks one patch has, since all of them are told to everybody in one message.
pub const PATCH_HUNKS: usize = 1_000;
/// Bytes of the texts one patch is about, those of older versions included: they are in memory several times over
/// while places are looked for.
pub const PATCH_TEXT_BYTES: usize = 32 * 1024 * 1024;
/// How long whoever edits from outside is seen at the place they edited.
pub const EDIT_PRESENCE: Duration = Duration::from_secs(2);
/// Turns one replica shows; older ones are read over HTTP.
pub const TURNS_SHOWN: usize = 200;
/// Turns that wait for one agent.
pub const TURNS_QUEUED: usize = 16;
/// Units written under one writing id of an agent: yrs slows down in one endless run by one client.
pub const WRITER_UNITS: u32 = 4096;
/// One transaction of an agent's text per so long.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(33);

/// WebSocket messages of one socket. A held key makes 60 a second with its cursor, stock clients repeat the presence
/// they are told, and a page that comes back opens all its documents at once.
pub const SOCKET_FRAMES: Rate = Rate { per_second: 500.0, burst: 2_000.0 };
/// Bytes of one socket. Two of the largest messages fit at once, so that a first sync after hours offline and a
/// paste pass; nobody types a megabyte a second.
pub const SOCKET_BYTES: Rate = Rate { per_second: 1024.0 * 1024.0, burst: 2.0 * MESSAGE_BYTES as f64 };
/// Presence messages of one socket. Rooms tell presence twenty times a second and stock clients repeat it, for
/// each of the documents they have open.
pub const SOCKET_PRESENCE: Rate = Rate { per_second: 200.0, burst: 1_000.0 };
/// Control requests of one socket: people click, programs make a project's documents one after another.
pub const SOCKET_CALLS: Rate = Rate { per_second: 20.0, burst: 100.0 };
/// Messages of all sockets of one person together: forty busy ones.
pub const SOCKET_FRAMES_PER_PERSON: Rate = Rate { per_second: 20_000.0, burst: 100_000.0 };
/// Bytes of all sockets of one person together: somebody with all their documents open pastes into some.
pub const SOCKET_BYTES_PER_PERSON: Rate =
    Rate { per_second: 16.0 * 1024.0 * 1024.0, burst: 32.0 * MESSAGE_BYTES as f64 };
/// Messages of all sockets of one address together: a school types, and its pages repeat presence.
pub const SOCKET_FRAMES_PER_ADDRESS: Rate = Rate { per_second: 100_000.0, burst: 1_000_000.0 };
/// Bytes of all sockets of one address together: a school comes back after hours offline.
pub const SOCKET_BYTES_PER_ADDRESS: Rate =
    Rate { per_second: 128.0 * 1024.0 * 1024.0, burst: 256.0 * MESSAGE_BYTES as f64 };
/// A socket that had to be slowed down for so long without a break is closed with 4529.
pub const SLOWED_LIMIT: Duration = Duration::from_mins(1);
/// A socket that was within its rates for so long counts as new.
pub const SLOWED_CALM: Duration = Duration::from_secs(5);

/// Joins from one address: a lecture of six hundred opens the link at once, behind one address.
pub const JOINS_PER_ADDRESS: Rate = Rate { per_second: 5.0, burst: 600.0 };
/// Joins of one person: some projects, and the same link again now and then.
pub const JOINS_PER_PERSON: Rate = Rate { per_second: 0.5, burst: 30.0 };
/// Projects made from one address: every pupil of a school hour makes one.
pub const PROJECTS_PER_ADDRESS: Rate = Rate { per_second: 1.0, burst: 300.0 };
/// Projects made by one person.
pub const PROJECTS_PER_PERSON: Rate = Rate { per_second: 0.1, burst: 30.0 };
/// Socket tickets for one address: all of a school comes back at once after a restart.
pub const TICKETS_PER_ADDRESS: Rate = Rate { per_second: 50.0, burst: 5_000.0 };
/// Socket tickets of one person: each tab takes one whenever it reconnects.
pub const TICKETS_PER_PERSON: Rate = Rate { per_second: 2.0, burst: 100.0 };
/// Turns started by one person, since they cost money: thirty quick ones, then one every two seconds.
pub const TURNS_PER_PERSON: Rate = Rate { per_second: 0.5, burst: 30.0 };
/// Edits over HTTP by one person, with all their tokens: a program works through a large change file by file.
pub const EDITS_PER_PERSON: Rate = Rate { per_second: 10.0, burst: 200.0 };
/// Edits over HTTP with one token: each is a turn that everybody is told of.
pub const EDITS_PER_TOKEN: Rate = Rate { per_second: 5.0, burst: 100.0 };
/// Requests of one person: programs work through a project's documents one after another.
pub const REQUESTS_PER_PERSON: Rate = Rate { per_second: 100.0, burst: 5_000.0 };
/// Requests from one address: a school opens its pages at once, and each asks a dozen times.
pub const REQUESTS_PER_ADDRESS: Rate = Rate { per_second: 500.0, burst: 20_000.0 };
/// People or addresses whose rates are remembered, for each kind; twice that at the most. Whoever was quiet the
/// longest is forgotten first.
pub const RATE_KEYS: usize = 32_768;

/// Connections at once, in all. Each costs some tens of kilobytes; ten schools fit.
pub const CONNECTIONS: usize = 10_000;
/// Connections at once from one address: a school of six hundred sits behind one, and a browser that opens a page
/// makes six and a socket. No single address can take all places.
pub const CONNECTIONS_PER_ADDRESS: usize = 5_000;
/// When to try again where there was no place for a connection.
pub const CONNECTIONS_RETRY: Duration = Duration::from_secs(5);
/// Sockets of one person at once: a program with a socket for each of some hundred documents, or all tabs of a
/// lifetime.
pub const SOCKETS_PER_PERSON: usize = 1_000;
/// Bytes of a request's line and headers: cookies of other programs on the same host fit.
pub const HEAD_BYTES: usize = 32 * 1024;
/// How long the head of a request may take, from its first byte on: it fits into a few packets.
pub const HEAD_TIME: Duration = Duration::from_secs(5);
/// A connection on which nothing is asked for so long is closed. Longer than proxies keep theirs, so that they
/// close first and never send a request into a closing connection.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(75);
/// Pieces of one WebSocket message: a proxy may cut the largest into such of 2 KiB, and browsers hardly cut at all.
pub const MESSAGE_PIECES: usize = 4096;
/// How long one WebSocket message may take, besides what its bytes buy.
pub const MESSAGE_TIME: Duration = Duration::from_mins(1);
/// Bytes of messages and request bodies that are not complete, of sockets nobody has signed in on, and of messages
/// that wait for a sign-in, over all connections: thousands of sockets with the largest message almost sent would
/// take all memory there is.
pub const UNFINISHED_BYTES: usize = 512 * 1024 * 1024;
/// Bytes of these that each connection has for itself: what people type is much smaller, and always gets through.
pub const UNFINISHED_FREE: usize = 64 * 1024;
/// How fast a WebSocket message has to come in the long run: what hours offline left fits through a bad phone line.
pub const MESSAGE_BYTES_PER_SECOND: u64 = 16 * 1024;

/// Bytes of the body of a request that brings text: new documents and edits.
pub const BODY_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of the body of a request about a turn: the longest prompt with every character escaped, or the hunks of
/// the largest patch.
pub const TURN_BODY_BYTES: usize = 512 * 1024;
/// Bytes of the body of any other request: some names and a secret. Strangers may send it.
pub const SMALL_BODY_BYTES: usize = 16 * 1024;
/// How long an HTTP request may take.
pub const REQUEST_TIME: Duration = Duration::from_secs(30);
/// How long a socket ticket may be presented for the first time.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);
/// Tickets that wait to be presented, over all people.
pub const TICKETS: usize = 100_000;
/// How long a browser stays signed in without coming back.
pub const SESSION_LIFE: Duration = Duration::from_hours(90 * 24);
/// How long a browser stays signed in at the most, however often it comes back: a cookie that was copied is not
/// good for ever.
pub const SESSION_MOST: Duration = Duration::from_hours(365 * 24);
/// How often it is looked whether a session or token has run out that has sockets open.
pub const EXPIRY_CHECK: Duration = Duration::from_secs(5);
/// How often it is looked, for every session and token that has sockets open, whether it is still there: it ends its
/// sockets itself, and whatever that may miss is found here.
pub const SIGN_IN_RECHECK: Duration = Duration::from_mins(5);
/// Sessions and tokens looked at in one round for that: ten thousand are through in little more than that time.
pub const SIGN_IN_RECHECKS: usize = 256;
/// Sessions that are being noted as used at the same time. Further ones are noted when they are used again.
pub const SESSIONS_TOUCHED: usize = 256;
/// How long the answer about the database is good that somebody gets who asks whether the server is ready: anybody
/// may ask, as often as they like.
pub const READY_CHECK: Duration = Duration::from_secs(1);
/// Different sessions and tokens one socket may sign in with.
pub const SIGN_INS_PER_SOCKET: usize = 32;
/// Tokens of one person that are listed: the newest.
pub const TOKENS_LISTED: u32 = 1_000;
/// Characters of one answer to a person about what went wrong in a close frame: the standard's 123 bytes.
pub const CLOSE_REASON_BYTES: usize = 123;
