-- Ids are sixteen bytes, times are microseconds since 1970 in UTC, hashes are SHA-256.
-- Words in checks are those of the code; adding one takes a new table, so only short, closed lists have checks.

create table members (
    id         blob    not null primary key check (length(id) = 16),
    name       text    not null,
    color      text    not null,
    created_at integer not null
) strict, without rowid;

create table projects (
    id         blob    not null primary key check (length(id) = 16),
    name       text    not null,
    tree       blob    not null check (length(tree) = 16),
    turns      blob    not null check (length(turns) = 16),
    created_at integer not null
) strict, without rowid;

create table memberships (
    project    blob    not null references projects (id),
    member     blob    not null references members (id),
    role       text    not null check (role in ('viewer', 'editor', 'owner')),
    created_at integer not null,
    primary key (project, member)
) strict, without rowid;

create index memberships_member on memberships (member);

create table sessions (
    id           blob    not null primary key check (length(id) = 16),
    member       blob    not null references members (id),
    hash         blob    not null unique check (length(hash) = 32),
    created_at   integer not null,
    last_seen_at integer not null,
    expires_at   integer not null
) strict, without rowid;

create index sessions_member on sessions (member);

create table tokens (
    id         blob    not null primary key check (length(id) = 16),
    hash       blob    not null unique check (length(hash) = 32),
    member     blob    not null references members (id),
    project    blob    references projects (id),
    role       text    not null check (role in ('viewer', 'editor', 'owner')),
    name       text    not null,
    created_at integer not null,
    expires_at integer
) strict, without rowid;

create index tokens_member on tokens (member);

create table invites (
    id         blob    not null primary key check (length(id) = 16),
    project    blob    not null references projects (id),
    role       text    not null check (role in ('viewer', 'editor', 'owner')),
    hash       blob    not null unique check (length(hash) = 32),
    created_by blob    not null references members (id),
    created_at integer not null,
    expires_at integer,
    max_uses   integer,
    uses       integer not null default 0,
    revoked_at integer
) strict, without rowid;

create index invites_project on invites (project);

create table documents (
    id         blob    not null primary key check (length(id) = 16),
    project    blob    not null references projects (id),
    path       text    not null,
    kind       text    not null,
    epoch      integer not null check (epoch >= 1),
    last_seq   integer not null default 0,
    created_at integer not null,
    deleted_at integer
) strict, without rowid;

-- A path belongs to one live text, and a project has one replica of each kind.
create unique index documents_path on documents (project, kind, path) where deleted_at is null;

-- The log. Rows are only ever added here; pruning moves old ones into history, changed nowhere.
-- Clustered by document, so that loading one reads neighbouring pages.
create table updates (
    document   blob    not null references documents (id),
    epoch      integer not null,
    seq        integer not null,
    member     blob,
    connection blob,
    turn       blob,
    via        blob,
    bytes      blob    not null,
    checksum   integer not null,
    time       integer not null,
    node       blob    not null,
    counter    integer not null,
    primary key (document, epoch, seq)
) strict, without rowid;

-- A commit whose fate is unknown is looked up here before it is repeated.
create unique index updates_stamp on updates (node, counter);

create table snapshots (
    document   blob    not null references documents (id),
    epoch      integer not null,
    seq        integer not null,
    bytes      blob    not null,
    checksum   integer not null,
    text_hash  blob    not null check (length(text_hash) = 32),
    created_at integer not null,
    primary key (document, epoch, seq)
) strict;

-- Whom a Yjs client id belongs to, and how far it has come. `owner` is null for the server's own
-- and for ids whose owner is not known yet.
create table clients (
    document   blob    not null references documents (id),
    client     integer not null,
    owner_kind text    not null check (owner_kind in ('member', 'turn', 'server', 'nobody')),
    owner      blob,
    next_clock integer not null,
    primary key (document, client)
) strict, without rowid;

create table turns (
    id           blob    not null primary key check (length(id) = 16),
    project      blob    not null references projects (id),
    agent        text    not null,
    member       blob    not null references members (id),
    prompt       text    not null,
    status       text    not null,
    documents    blob    not null,
    answer       text    not null,
    usage        text,
    error_code   text,
    error_detail text,
    review       text    not null,
    node         blob    not null,
    created_at   integer not null,
    finished_at  integer
) strict;

create index turns_project on turns (project, id);
create index turns_unfinished on turns (id) where status in ('queued', 'running');

create table hunks (
    turn     blob    not null references turns (id),
    hunk     integer not null,
    document blob,
    path     text    not null,
    state    text    not null,
    anchor   text,
    head     text,
    inserted integer not null,
    deleted  integer not null,
    line     integer,
    reason   text,
    primary key (turn, hunk)
) strict, without rowid;

-- What turns did, written in the transaction of the update that did it.
create table ledger (
    document blob    not null references documents (id),
    epoch    integer not null,
    seq      integer not null,
    position integer not null,
    turn     blob    not null,
    hunk     integer,
    kind     text    not null,
    client   integer not null,
    clock    integer not null,
    length   integer not null,
    text     text,
    primary key (document, epoch, seq, position)
) strict, without rowid;

create index ledger_turn on ledger (turn);
