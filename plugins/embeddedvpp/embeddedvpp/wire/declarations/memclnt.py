# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``memclnt`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module memclnt 2.1.0 b197c551
type module_version: u32 major; u32 minor; u32 patch; string name[64]
struct message_table_entry: u16 index; string name[64]
request get_first_msg_id ebf79a66: string name[64]
reply get_first_msg_id_reply 7d337472: i32 retval; u16 first_msg_id
request api_versions 51077d14:
reply api_versions_reply 5f0d99d6: i32 retval; u32 count; module_version api_versions[count]
reply sockclnt_create 455fb9c4: string name[64]
request sockclnt_create_reply 35166268: i32 response; u32 index; u16 count;
    message_table_entry message_table[count]
request sockclnt_delete 8ac76db6: u32 index
reply sockclnt_delete_reply 8f38b1ee: i32 response
request memclnt_keepalive 51077d14:
reply memclnt_keepalive_reply e8d4e804: i32 retval
request control_ping 51077d14:
reply control_ping_reply f6b0b8ca: i32 retval; u32 client_index; u32 vpe_pid
request get_api_json 51077d14:
reply get_api_json_reply ea715b59: i32 retval; string json[]
service get_first_msg_id get_first_msg_id_reply
service api_versions api_versions_reply
service sockclnt_create sockclnt_create_reply
service sockclnt_delete sockclnt_delete_reply
service memclnt_keepalive memclnt_keepalive_reply
service control_ping control_ping_reply
service get_api_json get_api_json_reply
"""
