"""What can go wrong with files alone; what more than one part meets is in mesh.errors, and works as these do."""

from mesh.error import FAILED_PRECONDITION, NOT_FOUND, PERMISSION_DENIED, VokeTagError


class ExportNotFound(VokeTagError):
    """There is no export {export_id}."""

    reason, code, resource_type = "EXPORT_NOT_FOUND", NOT_FOUND, "export"


class ExportTooLarge(VokeTagError):
    """The file would be larger than {limit} bytes: order it."""

    reason, code = "EXPORT_TOO_LARGE", FAILED_PRECONDITION


class WeeklyReportNotFound(VokeTagError):
    """There is no weekly report {report_id}."""

    reason, code, resource_type = "WEEKLY_REPORT_NOT_FOUND", NOT_FOUND, "weekly_report"


class LinkInvalid(VokeTagError):
    """This link is not valid, or not any more, or not for this caller."""

    reason, code = "LINK_INVALID", PERMISSION_DENIED
