"""What can go wrong, by name. Domain code raises these; the errors interceptor turns them into google.rpc.Status."""

from mesh.error import (
    ALREADY_EXISTS,
    DEADLINE_EXCEEDED,
    FAILED_PRECONDITION,
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    VokeTagError,
)


class ValidationFailed(VokeTagError):
    """The request breaks the contract: {summary}."""

    reason, code = "VALIDATION_FAILED", INVALID_ARGUMENT


class TokenMalformed(VokeTagError):
    """This is not a token in its canonical form."""

    reason, code = "TOKEN_MALFORMED", INVALID_ARGUMENT


class RequestIdReused(VokeTagError):
    """The request_id {request_id} was used before with another body."""

    reason, code = "REQUEST_ID_REUSED", INVALID_ARGUMENT


class PageTokenInvalid(VokeTagError):
    """The page token is not valid for this list and caller."""

    reason, code = "PAGE_TOKEN_INVALID", INVALID_ARGUMENT


class CredentialsMissing(VokeTagError):
    """This method needs credentials: {expected}."""

    reason, code = "CREDENTIALS_MISSING", UNAUTHENTICATED


class CredentialsInvalid(VokeTagError):
    """The credentials are unknown, expired or revoked."""

    reason, code = "CREDENTIALS_INVALID", UNAUTHENTICATED


class AccessDenied(VokeTagError):
    """This method is not for this caller."""

    reason, code = "ACCESS_DENIED", PERMISSION_DENIED


class RateLimited(VokeTagError):
    """Too many calls; try again in {seconds} s."""

    reason, code = "RATE_LIMITED", RESOURCE_EXHAUSTED


class QuotaExceeded(VokeTagError):
    """The quota {quota} allows {limit}, of which {used} are used."""

    reason, code = "QUOTA_EXCEEDED", RESOURCE_EXHAUSTED


class FactoryNotFound(VokeTagError):
    """There is no factory {factory_id}."""

    reason, code, resource_type = "FACTORY_NOT_FOUND", NOT_FOUND, "factory"


class ApiKeyNotFound(VokeTagError):
    """There is no API key {key_id}."""

    reason, code, resource_type = "API_KEY_NOT_FOUND", NOT_FOUND, "api_key"


class FactorySuspended(VokeTagError):
    """The factory {factory_id} is suspended."""

    reason, code = "FACTORY_SUSPENDED", FAILED_PRECONDITION


class ApiKeyEnded(VokeTagError):
    """The API key {key_id} has ended, or another took its place."""

    reason, code = "API_KEY_ENDED", FAILED_PRECONDITION


class BatchNotFound(VokeTagError):
    """There is no batch {batch_id}."""

    reason, code, resource_type = "BATCH_NOT_FOUND", NOT_FOUND, "batch"


class ProductNotFound(VokeTagError):
    """There is no such product."""

    reason, code, resource_type = "PRODUCT_NOT_FOUND", NOT_FOUND, "product"


class KeyNotFound(VokeTagError):
    """No key of tokens has the number {kid}."""

    reason, code, resource_type = "KEY_NOT_FOUND", NOT_FOUND, "key"


class RulingNotFound(VokeTagError):
    """No such ruling is in force on {subject}."""

    reason, code, resource_type = "RULING_NOT_FOUND", NOT_FOUND, "ruling"


class AnchorNotFound(VokeTagError):
    """Nothing was submitted for anchoring under {batch_id}."""

    reason, code, resource_type = "ANCHOR_NOT_FOUND", NOT_FOUND, "anchor"


class NotLogged(VokeTagError):
    """The ledger has no such entry, tree or tile that is signed for."""

    reason, code, resource_type = "NOT_LOGGED", NOT_FOUND, "log"


class BatchStateConflict(VokeTagError):
    """The batch is {state}, which does not allow this."""

    reason, code = "BATCH_STATE_CONFLICT", FAILED_PRECONDITION


class BatchEmpty(VokeTagError):
    """A batch needs at least one product; every row was refused or none came."""

    reason, code = "BATCH_EMPTY", FAILED_PRECONDITION


class BatchTooLarge(VokeTagError):
    """A batch has at most {limit} products."""

    reason, code = "BATCH_TOO_LARGE", FAILED_PRECONDITION


class StreamHeaderExpected(VokeTagError):
    """The first frame of a stream, and no other, is its header."""

    reason, code = "STREAM_HEADER_EXPECTED", INVALID_ARGUMENT


class SequenceGap(VokeTagError):
    """Rows are missing: the next row is {next_row}, and {first_row} came."""

    reason, code = "SEQUENCE_GAP", FAILED_PRECONDITION


class SequenceConflict(VokeTagError):
    """Row {first_row} is committed already, with other content or bounds; the next row is {next_row}."""

    reason, code = "SEQUENCE_CONFLICT", FAILED_PRECONDITION


class SequenceBroken(VokeTagError):
    """Chunks are numbered one after the other: {expected} was due, and {sequence} came."""

    reason, code = "SEQUENCE_BROKEN", INVALID_ARGUMENT


class ChunkSize(VokeTagError):
    """A chunk has 1 to {limit} rows, and {rows} came."""

    reason, code = "CHUNK_SIZE", INVALID_ARGUMENT


class TableMalformed(VokeTagError):
    """Line {line} of the file: {problem}."""

    reason, code = "TABLE_MALFORMED", INVALID_ARGUMENT


class EndpointRefused(VokeTagError):
    """This endpoint cannot be registered: {why}."""

    reason, code = "ENDPOINT_REFUSED", FAILED_PRECONDITION


class EndpointNotFound(VokeTagError):
    """There is no endpoint {endpoint_id}."""

    reason, code, resource_type = "ENDPOINT_NOT_FOUND", NOT_FOUND, "endpoint"


class DeliveryNotFound(VokeTagError):
    """There is no delivery {delivery_id}."""

    reason, code, resource_type = "DELIVERY_NOT_FOUND", NOT_FOUND, "delivery"


class CaseNotFound(VokeTagError):
    """There is no case {case_id}."""

    reason, code, resource_type = "CASE_NOT_FOUND", NOT_FOUND, "fraud_case"


class ReportStateConflict(VokeTagError):
    """The case is {state}, which does not allow this."""

    reason, code = "REPORT_STATE_CONFLICT", FAILED_PRECONDITION


class PositionLost(VokeTagError):
    """Nobody can go on after place {after}: it is too far behind, or was not reached yet."""

    reason, code = "POSITION_LOST", FAILED_PRECONDITION


class AnchorConflict(VokeTagError):
    """Another root was submitted for {batch_id} before."""

    reason, code = "ANCHOR_CONFLICT", ALREADY_EXISTS


class TransactionNotFound(VokeTagError):
    """No anchoring transaction has the hash {transaction}."""

    reason, code, resource_type = "TRANSACTION_NOT_FOUND", NOT_FOUND, "transaction"


class TargetNotFound(VokeTagError):
    """The anchor is at no chain called {target}."""

    reason, code, resource_type = "TARGET_NOT_FOUND", NOT_FOUND, "target"


class AnchorStateConflict(VokeTagError):
    """The anchor of {batch_id} is {state}, which does not allow this."""

    reason, code = "ANCHOR_STATE_CONFLICT", FAILED_PRECONDITION


class ReceiptNotReady(VokeTagError):
    """The batch of this product has no tree yet."""

    reason, code = "RECEIPT_NOT_READY", FAILED_PRECONDITION


class LoginRefused(VokeTagError):
    """The email or the password is wrong, or this person is kept out."""

    reason, code = "LOGIN_REFUSED", UNAUTHENTICATED


class LoginLocked(VokeTagError):
    """Too many failures; try again in {seconds} s."""

    reason, code = "LOGIN_LOCKED", RESOURCE_EXHAUSTED


class UserNotFound(VokeTagError):
    """There is no user {user_id}."""

    reason, code, resource_type = "USER_NOT_FOUND", NOT_FOUND, "user"


class EmailTaken(VokeTagError):
    """Somebody has this email already."""

    reason, code = "EMAIL_TAKEN", ALREADY_EXISTS


class LastAdmin(VokeTagError):
    """There would be no active admin left."""

    reason, code = "LAST_ADMIN", FAILED_PRECONDITION


class OwnRights(VokeTagError):
    """Nobody changes their own rights."""

    reason, code = "OWN_RIGHTS", PERMISSION_DENIED


class PasswordRefused(VokeTagError):
    """This password is too easy to guess: {why}."""

    reason, code = "PASSWORD_REFUSED", INVALID_ARGUMENT


class ResetInvalid(VokeTagError):
    """This token is unknown, used up or too old."""

    reason, code = "RESET_INVALID", FAILED_PRECONDITION


class UserStateConflict(VokeTagError):
    """The user is {state}, which does not allow this."""

    reason, code = "USER_STATE_CONFLICT", FAILED_PRECONDITION


class SecondFactorRequired(VokeTagError):
    """A code of the second factor is needed too."""

    reason, code = "SECOND_FACTOR_REQUIRED", UNAUTHENTICATED


class SecondFactorConflict(VokeTagError):
    """There is {state} second factor, which does not allow this."""

    reason, code = "SECOND_FACTOR_CONFLICT", FAILED_PRECONDITION


class PeriodNotKept(VokeTagError):
    """Hours are kept since {since}; ask for days before that."""

    reason, code = "PERIOD_NOT_KEPT", FAILED_PRECONDITION


class QueueNotFound(VokeTagError):
    """There is no queue {queue}."""

    reason, code, resource_type = "QUEUE_NOT_FOUND", NOT_FOUND, "queue"


class JobNotFound(VokeTagError):
    """There is no job {job_id} in this queue."""

    reason, code, resource_type = "JOB_NOT_FOUND", NOT_FOUND, "job"


class JobStateConflict(VokeTagError):
    """The job is {state}, which does not allow this."""

    reason, code = "JOB_STATE_CONFLICT", FAILED_PRECONDITION


class DependencyUnavailable(VokeTagError):
    """{dependency} cannot be reached; try again."""

    reason, code = "DEPENDENCY_UNAVAILABLE", UNAVAILABLE


class DeadlineExceeded(VokeTagError):
    """The deadline passed before the answer."""

    reason, code = "DEADLINE_EXCEEDED", DEADLINE_EXCEEDED


class ShuttingDown(VokeTagError):
    """This server is stopping; try another."""

    reason, code = "SHUTTING_DOWN", UNAVAILABLE


class Internal(VokeTagError):
    """Something went wrong on our side; the trace id finds it in our log."""

    reason, code = "INTERNAL", INTERNAL
