"""What experiments read: UnED's layout, images, transforms, and the generated demo benchmark."""
