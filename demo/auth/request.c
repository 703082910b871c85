/*
 * request.c - POST /api/token {"user_id": 7}: {"token": ...} for /auth_socket.
 * Anybody gets one for anybody: it is a demo, and has no passwords.
 */
#include "auth.h"

void
auth_request(struct bennu_conn *conn)
{
	const cJSON *body = bennu_body_json(conn), *id;
	char text[AUTH_ID_MAX + 1];
	const char *token;
	cJSON *answer;

	if (body == NULL)
		return;
	id = cJSON_GetObjectItemCaseSensitive(body, "user_id");
	if (!auth_id_text(id, text)) {
		bennu_respond_error(conn, 422,
		    "user_id is required: an integer, or up to 60 characters.");
		return;
	}
	token = bennu_conn_sign(
	    conn, AUTH_SALT, bennu_conn_take(conn, cJSON_Duplicate(id, true)));
	if (token == NULL) {
		bennu_respond_error(conn, 503, NULL);
		return;
	}
	answer = cJSON_CreateObject();
	cJSON_AddStringToObject(answer, "token", token);
	bennu_respond_json(conn, 200, answer);
}
