// Generated from backend/protocol by `make gen`. Edits are lost.

export type DocumentId = string;
export type HunkId = string;
export type InviteId = string;
export type MemberId = string;
export type ProjectId = string;
export type TurnId = string;
export type Version = string;
export type Timestamp = string;

export type Role = "viewer" | "editor" | "owner";

export type ErrorCode = "bad_request" | "not_signed_in" | "bad_ticket" | "no_access" | "read_only" | "foreign_origin" | "projects_closed" | "not_found" | "project_not_found" | "document_not_found" | "turn_not_found" | "agent_not_found" | "invite_not_found" | "invite_invalid" | "path_taken" | "path_invalid" | "turn_not_running" | "turn_running" | "version_unknown" | "edit_not_found" | "edit_ambiguous" | "not_supported" | "too_large" | "rate_limited" | "busy" | "malformed_update" | "malformed_frame" | "method_not_allowed" | "unsupported_media_type" | "internal";

export type Problem = { 
/**
 * Always `about:blank`: the code says it all.
 */
type: string, 
/**
 * The status in words.
 */
title: string, 
/**
 * The HTTP status.
 */
status: number, 
/**
 * What is wrong, for a person.
 */
detail: string, 
/**
 * What is wrong, for a program.
 */
code: ErrorCode, 
/**
 * Names the line in the server's log.
 */
request_id: string, 
/**
 * The edits that have no place, where edits were refused.
 */
edits?: Array<FailedEdit>, 
/**
 * The version the document is at, where another one is unknown.
 */
version?: Version, };

export type FailedEdit = { 
/**
 * Its number in the request, from 1.
 */
hunk: HunkId, 
/**
 * The path it names.
 */
path: string, 
/**
 * The document there.
 */
document: DocumentId | null, 
/**
 * What is wrong with it, for a program.
 */
code: ErrorCode, 
/**
 * What is wrong with it, for a person or a model.
 */
detail: string, 
/**
 * The lines concerned, from 1: all places it could mean, or where it stops to agree.
 */
lines: Array<number>, 
/**
 * The place that agrees best, when none agrees.
 */
nearest: NearestText | null, };

export type NearestText = { 
/**
 * Where it would start, from 1.
 */
line: number, 
/**
 * The first line that differs, from 1.
 */
first_difference: number, 
/**
 * What the edit expects on that line.
 */
expected: string, 
/**
 * What stands there; none behind the last line.
 */
found: string | null, };

export type TurnStatus = "queued" | "running" | "done" | "interrupted" | "failed";

export type HunkState = "applied" | "accepted" | "rejected" | "missed" | "reverted";

export type Review = "open" | "accepted" | "rejected" | "mixed";

export type Compat = "codex";

export type Access = "open" | "invite";

export type CreateProject = { 
/**
 * What people call it.
 */
name: string, 
/**
 * What it starts with: `empty` or `welcome`; `welcome` when left out.
 */
template?: string | null, 
/**
 * The caller's name, where the caller has none yet.
 */
your_name?: string | null, };

export type CreateInvite = { 
/**
 * What the link makes people.
 */
role: Role, 
/**
 * Seconds until it stops working; never when left out.
 */
expires_in?: number | null, 
/**
 * How many people may use it; any number when left out.
 */
max_uses?: number | null, };

export type Join = { 
/**
 * The part of the link after `#`.
 */
secret: string, 
/**
 * The caller's name; kept from before when left out.
 */
name?: string | null, };

export type CreateDocument = { 
/**
 * Where in the tree, relative, with `/` between folders.
 */
path: string, 
/**
 * What it starts with; line ends become `\n`.
 */
text?: string | null, };

export type RenameDocument = { 
/**
 * Its new place.
 */
path: string, };

export type OffsetSelection = { 
/**
 * UTF-16 units before it.
 */
start: number, 
/**
 * UTF-16 units before its end.
 */
end: number, 
/**
 * The version the offsets are of.
 */
version?: Version | null, };

export type AnchorSelection = { 
/**
 * The end that stays.
 */
anchor: unknown, 
/**
 * The end that moves.
 */
head: unknown, };

export type Selection = OffsetSelection | AnchorSelection;

export type StartTurn = { 
/**
 * What it should do.
 */
prompt: string, 
/**
 * Which agent; the project's first when left out.
 */
agent?: string | null, 
/**
 * The document the prompt is about.
 */
document?: DocumentId | null, 
/**
 * What is selected in it.
 */
selection?: Selection | null, };

export type EditDocument = { 
/**
 * What is replaced by what, all of it or nothing.
 */
edits: Array<TextReplacement>, 
/**
 * The version the caller has read; the text of now when left out.
 */
base_version?: string | null, };

export type TextReplacement = { 
/**
 * A text that stands in the document in one place.
 */
old_text: string, 
/**
 * What is to stand there.
 */
new_text: string, };

export type ApplyPatch = { 
/**
 * From `*** Begin Patch` to `*** End Patch`.
 */
patch: string, 
/**
 * The versions the caller has read, by path; the texts of now where left out.
 */
base_versions?: { [key in string]: string } | null, 
/**
 * Whose rules apply; one place or none when left out.
 */
compat?: Compat | null, };

export type ReviewTurn = { 
/**
 * Which hunks; the whole turn when left out.
 */
hunks?: Array<HunkId> | null, };

export type ProjectSummary = { 
/**
 * Its id.
 */
id: ProjectId, 
/**
 * What people call it.
 */
name: string, 
/**
 * The caller's role in it.
 */
role: Role, 
/**
 * When it was made.
 */
created_at: Timestamp, };

export type CreatedProject = { 
/**
 * The project.
 */
project: ProjectSummary, 
/**
 * A bearer token of its owner.
 */
token: string, 
/**
 * A link that makes people editors.
 */
link: string, };

export type Project = { 
/**
 * Its id.
 */
id: ProjectId, 
/**
 * What people call it.
 */
name: string, 
/**
 * The caller's role in it.
 */
role: Role, 
/**
 * When it was made.
 */
created_at: Timestamp, 
/**
 * The caller.
 */
you: Member, 
/**
 * Everybody in it.
 */
members: Array<Member>, 
/**
 * Its agents.
 */
agents: Array<Agent>, };

export type Member = { 
/**
 * Their id.
 */
id: MemberId, 
/**
 * What they call themselves.
 */
name: string, 
/**
 * Their color, `#rrggbb`.
 */
color: string, 
/**
 * What they may do.
 */
role: Role, };

export type Me = { 
/**
 * Their id.
 */
id: MemberId, 
/**
 * What they call themselves.
 */
name: string, 
/**
 * Their color, `#rrggbb`.
 */
color: string, };

export type Agent = { 
/**
 * Its id within the project.
 */
id: string, 
/**
 * What it is called.
 */
name: string, 
/**
 * Its color, `#rrggbb`.
 */
color: string, 
/**
 * The model behind it.
 */
model: string, 
/**
 * Whether that is the built-in rule-based demo model.
 */
demo: boolean, };

export type CreatedInvite = { 
/**
 * Its id.
 */
id: InviteId, 
/**
 * The whole link.
 */
link: string, 
/**
 * Its secret part.
 */
secret: string, 
/**
 * What it makes people.
 */
role: Role, 
/**
 * When it stops working.
 */
expires_at: Timestamp | null, };

export type Invite = { 
/**
 * Its id.
 */
id: InviteId, 
/**
 * What it makes people.
 */
role: Role, 
/**
 * When it was made.
 */
created_at: Timestamp, 
/**
 * When it stops working.
 */
expires_at: Timestamp | null, 
/**
 * How many people may use it.
 */
max_uses: number | null, 
/**
 * How many have.
 */
uses: number, 
/**
 * How many others are in the project by it: who is taken out with `members=remove`.
 */
members: number, 
/**
 * Whether it was revoked.
 */
revoked: boolean, };

export type Joined = { 
/**
 * The project.
 */
project: ProjectSummary, 
/**
 * The caller's role in it.
 */
role: Role, 
/**
 * A bearer token of the caller.
 */
token: string, };

export type Document = { 
/**
 * Its id.
 */
id: DocumentId, 
/**
 * Where in the tree.
 */
path: string, 
/**
 * What it is: `text`.
 */
kind: string, 
/**
 * UTF-16 units of its text, where the server has it at hand.
 */
size: number | null, 
/**
 * Its version.
 */
version: Version, };

export type CreatedDocument = { 
/**
 * Its id.
 */
id: DocumentId, 
/**
 * Where in the tree.
 */
path: string, 
/**
 * Its version.
 */
version: Version, };

export type SocketTicket = { 
/**
 * The token to send in Auth.
 */
ticket: string, 
/**
 * Until when it may be presented first.
 */
expires_at: Timestamp, };

export type Info = { 
/**
 * The server's version.
 */
version: string, 
/**
 * Who may make projects.
 */
access: Access, 
/**
 * The model that answers.
 */
model: ModelInfo, 
/**
 * Whether the page is served safely: over TLS or on this machine.
 */
secure: boolean, };

export type ModelInfo = { 
/**
 * Its name.
 */
name: string, 
/**
 * Who runs it.
 */
provider: string, 
/**
 * Whether it is the built-in rule-based demo model.
 */
demo: boolean, };

export type Usage = { 
/**
 * Tokens the model read.
 */
input_tokens: number, 
/**
 * Of those, tokens it had read before.
 */
cached_tokens: number, 
/**
 * Tokens it wrote.
 */
output_tokens: number, };

export type TurnError = { 
/**
 * For a program.
 */
code: string, 
/**
 * For a person.
 */
detail: string, };

export type Hunk = { 
/**
 * Its id within the turn.
 */
id: HunkId, 
/**
 * The document it belongs to; none when its file does not exist.
 */
document: DocumentId | null, 
/**
 * The path the model named.
 */
path: string, 
/**
 * What became of it.
 */
state: HunkState, 
/**
 * First line it touched, from 1, when it was applied.
 */
line: number | null, 
/**
 * UTF-16 units it inserted.
 */
inserted: number, 
/**
 * UTF-16 units it deleted.
 */
deleted: number, 
/**
 * Why it was missed.
 */
reason: string | null, };

export type EditedDocument = { 
/**
 * The document's version after it.
 */
version: Version, 
/**
 * What became of each edit.
 */
hunks: Array<Hunk>, 
/**
 * The turn that stands for them; none when nothing had to change.
 */
turn: TurnId | null, };

export type PatchedDocuments = { 
/**
 * Each document it is about, by path.
 */
documents: Array<PatchedDocument>, 
/**
 * The turn that stands for it; none when nothing had to change.
 */
turn: TurnId | null, };

export type PatchedDocument = { 
/**
 * The document; none where the path names none.
 */
id: DocumentId | null, 
/**
 * Where it is now, or was.
 */
path: string, 
/**
 * Its version after it; none when it is gone.
 */
version: Version | null, 
/**
 * What became of each hunk.
 */
hunks: Array<Hunk>, };

export type Turn = { 
/**
 * Its id.
 */
id: TurnId, 
/**
 * Where it stands.
 */
status: TurnStatus, 
/**
 * Which agent.
 */
agent: string, 
/**
 * What it is called, where it is none of the project's agents: a token's name.
 */
agent_name: string | null, 
/**
 * What was asked.
 */
prompt: string, 
/**
 * Who asked.
 */
by: MemberId, 
/**
 * When.
 */
created_at: Timestamp, 
/**
 * When it ended.
 */
finished_at: Timestamp | null, 
/**
 * What the model said beside its edits.
 */
answer: string, 
/**
 * The documents it may write in.
 */
documents: Array<DocumentId>, 
/**
 * What it changed, piece by piece.
 */
hunks: Array<Hunk>, 
/**
 * What it cost.
 */
usage: Usage | null, 
/**
 * Why it failed.
 */
error: TurnError | null, 
/**
 * What people decided.
 */
review: Review, };

export type TurnAnswer = { 
/**
 * The turn.
 */
turn: Turn, };

export type ReviewedTurns = { 
/**
 * Those of which something changed, newest first; none when there is nothing left to do.
 */
turns: Array<TurnId>, };

export type Units = { 
/**
 * The Yjs client id.
 */
client: number, 
/**
 * The first unit's clock.
 */
clock: number, 
/**
 * How many units.
 */
length: number, };

export type DeletedUnits = { 
/**
 * The Yjs client id.
 */
client: number, 
/**
 * The first unit's clock.
 */
clock: number, 
/**
 * How many units.
 */
length: number, 
/**
 * What they said.
 */
text: string, };

export type HunkChanges = { 
/**
 * Its id within the turn.
 */
id: HunkId, 
/**
 * What became of it.
 */
state: HunkState, 
/**
 * What it inserted, visible or not; what a review put back of it stands here under its new ids.
 */
inserted: Array<Units>, 
/**
 * What it deleted.
 */
deleted: Array<DeletedUnits>, };

export type DocumentChanges = { 
/**
 * The document.
 */
document: DocumentId, 
/**
 * Its path.
 */
path: string, 
/**
 * Its hunks there, in order.
 */
hunks: Array<HunkChanges>, };

export type TurnChanges = { 
/**
 * The turn.
 */
turn: TurnId, 
/**
 * The documents it changed.
 */
documents: Array<DocumentChanges>, };

export type WrittenBy = "person" | "turn";

export type AttributedSpan = { 
/**
 * UTF-16 units before it.
 */
start: number, 
/**
 * UTF-16 units.
 */
length: number, 
/**
 * Whether a person or a turn wrote it.
 */
by: WrittenBy, 
/**
 * The person; none for what was written before anybody can be told.
 */
member?: MemberId | null, 
/**
 * The turn.
 */
turn?: TurnId | null, 
/**
 * The hunk of the turn.
 */
hunk?: HunkId | null, 
/**
 * The Yjs client id its units have, all of them.
 */
client: number, 
/**
 * Its first unit's clock.
 */
clock: number, };

export type AttributedTurn = { 
/**
 * The agent's id.
 */
agent: string, 
/**
 * What it was asked.
 */
prompt: string, 
/**
 * Who asked.
 */
by: MemberId, 
/**
 * When.
 */
created_at: Timestamp, };

export type AttributedMember = { 
/**
 * Their name.
 */
name: string, 
/**
 * Their color.
 */
color: string, };

export type Attribution = { 
/**
 * The version it is of.
 */
version: Version, 
/**
 * The whole text, in order and without gaps.
 */
spans: Array<AttributedSpan>, 
/**
 * The turns the spans name.
 */
turns: { [key in string]: AttributedTurn }, 
/**
 * The people the spans and the turns name.
 */
members: { [key in string]: AttributedMember }, };

export type TurnParams = { 
/**
 * The turn.
 */
turn: TurnId, };

export type ReviewParams = { 
/**
 * The turn.
 */
turn: TurnId, 
/**
 * Which hunks; the whole turn when left out.
 */
hunks?: Array<HunkId> | null, };

export type AgentParams = { 
/**
 * Its id in the project.
 */
agent: string, };

export type RenameParams = { 
/**
 * The document.
 */
document: DocumentId, 
/**
 * Its new place.
 */
path: string, };

export type DocumentParams = { 
/**
 * The document.
 */
document: DocumentId, };

