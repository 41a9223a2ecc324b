"""The 18 joints of OpenPose's COCO model, in the order of the field's annotation files."""

JOINT_NAMES = (
    "nose",
    "neck",
    "right shoulder",
    "right elbow",
    "right wrist",
    "left shoulder",
    "left elbow",
    "left wrist",
    "right hip",
    "right knee",
    "right ankle",
    "left hip",
    "left knee",
    "left ankle",
    "right eye",
    "left eye",
    "right ear",
    "left ear",
)
NUM_JOINTS = len(JOINT_NAMES)

# The joints that both pictures of a pair must show (the pair rule).
TORSO = (2, 5, 8, 11)

# Where each joint stands after a horizontal flip: left and right change places.
FLIPPED = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)

LIMBS = (
    *((1, 2), (2, 3), (3, 4)),  # right arm
    *((1, 5), (5, 6), (6, 7)),  # left arm
    *((1, 8), (8, 9), (9, 10)),  # right leg
    *((1, 11), (11, 12), (12, 13)),  # left leg
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),  # head
)

# Limbs that the field's person mask fills besides: the outline of the torso and of the head.
MASK_LIMBS = (*LIMBS, (1, 16), (1, 17), (8, 11), (11, 5), (8, 2), (16, 17))
