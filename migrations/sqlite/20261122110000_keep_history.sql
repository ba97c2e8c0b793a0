-- Log rows that no snapshot needs any more, packed: as many as fit a short transaction, in order and
-- without gaps, compressed. `bytes` says everything the rows said. Every update of a document is either
-- in `updates` or in one segment.
create table segments (
    document   blob    not null references documents (id),
    epoch      integer not null,
    first_seq  integer not null,
    last_seq   integer not null check (last_seq >= first_seq),
    bytes      blob    not null,
    checksum   integer not null,
    created_at integer not null,
    primary key (document, epoch, last_seq)
) strict;

-- Stamps of updates that went into segments while a repetition could still arrive; older ones are
-- forgotten.
create table stamps (
    node     blob    not null,
    counter  integer not null,
    document blob    not null,
    epoch    integer not null,
    seq      integer not null,
    time     integer not null,
    primary key (node, counter)
) strict, without rowid;

create index stamps_time on stamps (time);

-- What the database says about itself: how the last run ended, whether it was restored.
create table meta (
    key   text not null primary key,
    value text not null
) strict, without rowid;

-- Updates that are not to be applied, and why. Their document may be one that was never committed.
create table quarantine (
    document blob    not null check (length(document) = 16),
    hash     blob    not null check (length(hash) = 32),
    bytes    blob    not null,
    reason   text    not null,
    at       integer not null,
    primary key (document, hash)
) strict;

-- How often in a row a document could not be loaded.
create table load_failures (
    document blob    not null primary key check (length(document) = 16),
    failures integer not null,
    at       integer not null
) strict, without rowid;
