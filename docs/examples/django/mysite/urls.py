"""The URLs."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from accounts.views import device, errors, security, sign_in, users

urlpatterns = [
    path("", security.home, name="home"),
    path("sign-in", sign_in.SignInView.as_view(), name="sign-in"),
    path("sign-out", LogoutView.as_view(), name="sign-out"),
    path("code", sign_in.code, name="code"),
    path("resync", sign_in.resync, name="resync"),
    path("recover", sign_in.recover, name="recover"),
    path("device", device.start, name="device"),
    path("device/new", device.new, name="device-new"),
    path("device/confirm", device.confirm, name="device-confirm"),
    path("device/cancel", device.cancel, name="device-cancel"),
    path("security", security.security, name="security"),
    path("security/recovery-codes", security.recovery_codes, name="recovery-codes"),
    path("security/remove-device", security.remove_device, name="remove-device"),
    path("security/sign-out-everywhere", security.sign_out_everywhere, name="sign-out-everywhere"),
    path("security/reopen", security.reopen, name="reopen"),
    path("users", users.users, name="users"),
    path("users/<uuid:user_id>/remove-device", users.remove_device, name="users-remove-device"),
    path("users/<uuid:user_id>/binding-code", users.binding_code, name="users-binding-code"),
    path("users/<uuid:user_id>/client-token", users.client_token, name="users-client-token"),
]
handler400 = errors.bad_request
handler403 = errors.forbidden
handler404 = errors.not_found
handler500 = errors.server_error
