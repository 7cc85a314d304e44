import { AppError } from './errors.js';

const REASONS = {
  NotAllowedError: ['The camera was not allowed.', 'Allow it in the browser’s address bar.'],
  NotFoundError: ['No camera was found.', 'Choose a picture instead.'],
  NotReadableError: ['The camera is in use by another app.', 'Close that, then try again.'],
};

/** Shows the camera (a phone's back one) in a video element. */
export async function openCamera(video) {
  if (!navigator.mediaDevices) {
    throw new AppError('The camera needs a page from https or localhost.', 'Choose a picture instead.');
  }
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: 'environment', width: { ideal: 1280 } },
    });
    await video.play();
  } catch (error) {
    closeCamera(video);
    throw new AppError(...(REASONS[error.name] ?? ['The camera did not start.', error.message]));
  }
}

export function closeCamera(video) {
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
}

/** The frame that is showing, as an ImageBitmap. */
export async function frameOf(video) {
  try {
    return await createImageBitmap(video);
  } catch {
    throw new AppError('The camera gives no picture yet.', 'Wait a moment, then try again.');
  }
}
