"""What can go wrong with files and other providers alone; what more than one part meets is in mesh.errors."""

from mesh.error import ALREADY_EXISTS, FAILED_PRECONDITION, NOT_FOUND, PERMISSION_DENIED, UNAUTHENTICATED, VokeTagError


class ExportNotFound(VokeTagError):
    """There is no export {export_id}."""

    reason, code, resource_type = "EXPORT_NOT_FOUND", NOT_FOUND, "export"


class ExportTooLarge(VokeTagError):
    """The file would be larger than {limit} bytes: order it."""

    reason, code = "EXPORT_TOO_LARGE", FAILED_PRECONDITION


class ExportStateConflict(VokeTagError):
    """The export is {state}, which does not allow this."""

    reason, code = "EXPORT_STATE_CONFLICT", FAILED_PRECONDITION


class WeeklyReportNotFound(VokeTagError):
    """There is no weekly report {report_id}."""

    reason, code, resource_type = "WEEKLY_REPORT_NOT_FOUND", NOT_FOUND, "weekly_report"


class LinkInvalid(VokeTagError):
    """This link is not valid, or not any more, or not for this caller."""

    reason, code = "LINK_INVALID", PERMISSION_DENIED


class OidcStateInvalid(VokeTagError):
    """This login was not begun by this client, is over, or took too long: begin another."""

    reason, code = "OIDC_STATE_INVALID", FAILED_PRECONDITION


class OidcLoginRefused(VokeTagError):
    """The provider proved nobody who may log in here."""

    reason, code = "OIDC_LOGIN_REFUSED", UNAUTHENTICATED


class OidcProviderNotFound(VokeTagError):
    """There is no provider {provider}."""

    reason, code, resource_type = "OIDC_PROVIDER_NOT_FOUND", NOT_FOUND, "oidc_provider"


class OidcLinkConflict(VokeTagError):
    """The person has a link to this issuer already, or the subject is somebody's."""

    reason, code = "OIDC_LINK_CONFLICT", ALREADY_EXISTS
