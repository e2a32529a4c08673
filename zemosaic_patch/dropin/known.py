# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints (`sources.fingerprint`) of the published modules that the patch fits: January to April 2026."""

KNOWN = {
    "zemosaic_worker.py": """
        52a01108ca78 048611f58e99 db12e40aa183 ff79c83e37f0 f036a192fa98 f870d483c48d 2ebc65793e2f cf027c698f3b
        baa1d3afacb1 d36e39cf7c15 8e866cff95b5 d9a7b1b24920 f5d3f9bcbf74 72497a734239 f1825e82fbc6 6b51921e6f1c
        3efe226d6610 d955f88d03f1 50e4d05bbed7 003c8bcac1ee 74bc46dc320a 73a9ebcb23b0 9bb560506c4a c33aa0ac76a5
        2b2814970200 8d875e48c310 481d2393364b bc08c9484407 07885410dcef 0f88e26d6115 4ca23c0b285f dbde2f0129c3
        6d3dcb62ece2 c74af6905325 284b774aa55d c86bdb75bd39 8b15bc040533 10017fd5e3e8 64e0ef2e766a 55ece1ecafca
        191c1cc3886b e96f9a3ee77b 19e9c9782f11 895b0294737a 67032612540d 4dccfbdbf954 cb3217679ac0 bed94bbc31d1
        b76a6a20962d e12d489bf518 7658369712f2 643952e60d05 330ce3c944ed 2f8b146b5536 a9a3ac984145 d706e839d0d3
        4812e07acae2 8ca67d767a6d bfb2bdb35f8f 5ba4c42e3fc0 2d57aeba97f6 d99207767589 40711b281257 edbe1222c8ae
        97f456345151 4be23de5dc0f 8cfbe68ce6f3
    """,
    "zemosaic_align_stack.py": """
        fc38e96eefef 9dbaf3494c1d 264b44d7dbf8 d6bfb545333b b7384092ab77 7fe4f6a023e7 821bd02fc5d5 b04889450ced
        544e15a0e1ce db85db829072 b11df778a633
    """,
    "zemosaic_align_stack_gpu.py": """
        32f3bc5ffb59 fb12a5b81507 09de1b1ae7fe bdde2cb58c66 00cb700811ab fa2cc3fc8ac7 a050b0982a3c 6c493eeaa31d
        041345648498 19381d4f1f10 c746c1270451
    """,
    "zemosaic_utils.py": """
        68ef07b7e0dd 1df0e76d22d7 0f80946c316e 6a8f3082d544 ade6acf7cf7c d538d6384075 01207a1dd00f dec7fd9c1314
        63273cf5d98e a4bc3f1fa0b8 1951ef47bd44 7ffd860645ca bff904d323f7 253fc82bd5b2 5d20e7ccc67d d0a63f2ad2bb
        720745c72f23
    """,
}
