/** Something that the person can be told: what happened, and what to do about it. */
export class AppError extends Error {
  constructor(message, hint = '') {
    super(message);
    this.name = 'AppError';
    this.hint = hint;
  }
}
